// Biased verifiers that a certificate has to tell from a lossless one: if it cannot, on that draft, it shows nothing
// (it is without power).
//
// Contract: each bias is small and one that real code had. They stand here and not in the registry: nobody can run with
// one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/api/verifier.h"

namespace foretell::certify {

struct Control {
  std::string name;  // "accepts a tenth too often"
  std::function<std::unique_ptr<Verifier>()> make;
  bool greedy = false;          // its bias shows at temperature 0; else above
  bool needs_siblings = false;  // it shows only where a node has several proposals
};

const std::vector<Control>& controls();

}  // namespace foretell::certify
