// Planted faults: mistakes that real projects shipped, each as a subclass or a wrapper of a correct part. Every one
// must be caught by a check.
#pragma once

#include <string>
#include <vector>

#include "experiments/certify/certificate.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

using namespace certify;

struct Fault {
  std::string name;
  std::string what;
  Setup setup;
};

std::vector<Fault> planted_faults();

// Faults that drafts of one or two tokens do not show.
struct DeepFault {
  std::string name;
  std::string what;
  SetupOn on;
};
std::vector<DeepFault> deep_faults();

}  // namespace foretell::testing
