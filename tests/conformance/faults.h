// Planted faults: mistakes that real projects shipped, each as a subclass or a wrapper of a correct part. Every one must be caught by a check.
#pragma once

#include <string>
#include <vector>

#include "experiments/certify/checks.h"

namespace foretell::testing {

using namespace certify;

struct Fault {
  std::string name;
  std::string what;
  Setup setup;
};

std::vector<Fault> planted_faults();

}  // namespace foretell::testing
