// Heads on the target's last state as the source of a draft's levels (Medusa): one row a depth, whatever the path.
//
// Contract: reads the target's final state of the row before the anchor, whose own head chose the anchor, so head i
// speaks of depth i + 1. Nothing is drafted before there is such a row: in the first round of a prompt of one token.
// All sequences of the batch go through a head at once.
#pragma once

#include <map>

#include "framework/decoding/bases/level_source.h"
#include "framework/model/heads/medusa_heads.h"

namespace foretell::bases {

class HeadSource final : public LevelSource {
 public:
  explicit HeadSource(model::heads::MedusaHeads heads) : heads_(std::move(heads)) {}

  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }
  int deepest() const override { return heads_.count(); }
  bool rewinds() const override { return false; }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { states_.erase(slot); }
  LevelRows level(std::span<const LevelRequest> batch, int depth) override;

 private:
  model::heads::MedusaHeads heads_;
  std::map<SlotId, at::Tensor> states_;  // [hidden] of the row before the anchor
};

}  // namespace foretell::bases
