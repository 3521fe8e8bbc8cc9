// Says what a step took where that is not what the wall clock says: recorded times, or times made of costs.
//
// Contract: asked once a step, before policies hear of it. The records hold each sequence's share of the measured time;
// what is left in them is what policies and results get.
#pragma once

#include <span>

#include "framework/api/request.h"
#include "framework/api/round.h"

namespace foretell::decoding {

class StepClock {
 public:
  struct Round {
    const Request& request;
    int index;  // of this request, from 0
  };
  virtual ~StepClock() = default;
  // One record for each round of the step, in the same order.
  virtual void set_times(std::span<const Round> rounds, std::span<RoundRecord> records) const = 0;
};

}  // namespace foretell::decoding
