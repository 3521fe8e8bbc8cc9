#include "framework/base/version.h"

#include <fmt/format.h>

int main() {
  fmt::print("foretell {} ({}, {})\n", foretell::version(), foretell::git_revision(), foretell::compiler());
  return 0;
}
