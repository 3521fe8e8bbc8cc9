// What a policy knows of each running sequence.
//
// Contract: one state a slot; a slot that holds a new sequence has a fresh one, slots that are not in the round are
// forgotten, so there are never more than the batch has sequences. begin_round() is for plan(): should_continue() and
// observe() then find the same states.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "framework/api/policy.h"

namespace foretell::bases {

template <class State>
class SequenceStates {
 public:
  // The states of the round's sequences in the order of the batch. `make` builds a fresh one.
  template <class Make>
  const std::vector<State*>& begin_round(std::span<const PolicyView> batch, Make&& make) {
    std::map<SlotId, Entry> kept;
    round_.clear();
    for (const PolicyView& view : batch) {
      auto node = entries_.extract(view.slot);
      // A request may come again, in the next repeat: one that has emitted nothing is new whatever its id.
      if (node.empty() || node.mapped().request != view.request || view.generated == 0) {
        round_.push_back(&kept.emplace(view.slot, Entry{view.request, make()}).first->second.state);
      } else {
        round_.push_back(&kept.insert(std::move(node)).position->second.state);
      }
    }
    entries_ = std::move(kept);
    return round_;
  }
  const std::vector<State*>& begin_round(std::span<const PolicyView> batch) {
    return begin_round(batch, [] { return State{}; });
  }

  std::span<State* const> round() const { return round_; }  // as begin_round() returned it
  State& at(SlotId slot) { return entries_.at(slot).state; }

 private:
  struct Entry {
    std::uint64_t request;
    State state;
  };
  std::map<SlotId, Entry> entries_;
  std::vector<State*> round_;
};

}  // namespace foretell::bases
