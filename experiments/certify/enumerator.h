// Walks every branch of code that draws through Rng, with the exact probability of each.
//
// Contract: call run(body) with a body that constructs its generators with make_rng() and is deterministic otherwise.
// The body is executed once for each sequence of decisions of positive probability; weight() is that sequence's
// probability at the end of the body. With a limit, run() gives up after so many sequences: false.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "framework/core/rng.h"

namespace foretell::certify {

class Enumerator {
 public:
  // A generator that follows this enumerator's script.
  std::unique_ptr<Rng> make_rng();
  double weight() const { return weight_; }

  template <class Body>
  bool run(Body&& body, std::int64_t limit = std::numeric_limits<std::int64_t>::max()) {
    do {
      if (limit-- == 0) return false;
      at_ = 0;
      weight_ = 1.0;
      body();
    } while (advance());
    return true;
  }

 private:
  friend class ScriptedRng;
  std::size_t decide(std::span<const double> probabilities);
  bool advance();  // to the next script; false after the last

  struct Decision {
    std::size_t choice;
    std::vector<double> probabilities;
  };
  std::vector<Decision> script_;
  std::size_t at_ = 0;
  double weight_ = 1.0;
};

}  // namespace foretell::certify
