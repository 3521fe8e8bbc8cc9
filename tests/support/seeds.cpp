#include "tests/support/seeds.h"

#include <cstdlib>
#include <filesystem>

#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {

void for_each_seed(const std::string& fuzzer, const std::function<void(const std::string& bytes)>& visit) {
  const char* source = std::getenv("FORETELL_SOURCE_DIR");  // set by ctest; by hand the tests run in the project's root
  int seeds = 0;
  for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(source != nullptr ? source : ".") /
                                                              "tests/fuzz/seeds" / fuzzer)) {
    INFO(file.path());
    visit(read_file(file.path()));
    ++seeds;
  }
  CHECK(seeds > 0);
}

}  // namespace foretell::testing
