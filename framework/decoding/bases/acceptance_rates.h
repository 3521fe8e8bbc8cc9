// Acceptance that is given instead of measured: by the oracle drafter and the synthetic verifier.
#pragma once

#include <algorithm>
#include <vector>

namespace foretell::bases {

struct AcceptanceRates {
  double all = 0;                     // where no depth has one of its own
  std::vector<double> by_depth = {};  // [0] for depth 1; the last entry holds for deeper ones
  double at(int depth) const {
    return by_depth.empty() ? all : by_depth[std::min(by_depth.size(), static_cast<std::size_t>(depth)) - 1];
  }
};

}  // namespace foretell::bases
