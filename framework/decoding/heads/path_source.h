// Heads on the target's last state that see the tokens chosen since as the source of a draft's levels: Hydra, MLP
// speculators, ReDrafter.
//
// Contract: a draft goes on from the target's final state of the row before the anchor, whose own head chose the
// anchor, and step 1 takes the anchor in. What a node has taken in is kept for its children until the next draft;
// nothing of a draft lives longer. Where the head has layers of its own (Hydra++), their cache holds one row for each
// committed token but the anchor, of the target's own states. Nothing is drafted before there is such a row: behind a
// prompt of one token. All sequences of the batch go through a step at once.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "framework/decoding/bases/level_source.h"
#include "framework/model/heads/path_head.h"

namespace foretell::decoding::heads {

class PathSource final : public bases::LevelSource {
 public:
  explicit PathSource(std::shared_ptr<const model::heads::PathHead> head) : head_(std::move(head)) {}

  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }
  int deepest() const override { return head_->deepest(); }
  bool rewinds() const override { return false; }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  bases::LevelRows level(std::span<const bases::LevelRequest> batch, int depth) override;

 private:
  struct Sequence {
    std::unique_ptr<model::KvCache> cache = {};  // of the head's own layers
    std::vector<at::Tensor> pending = {};        // states that these have not read, [rows, hidden] each
    at::Tensor state = {};                       // [hidden] that the next draft goes on from; undefined: none yet
    std::map<NodeId, at::Tensor> paths = {};     // [width] by node of the draft, once it has taken its token in
  };

  void add_states(Sequence& sequence, const at::Tensor& states) const;
  void read_pending(std::span<const bases::LevelRequest> batch);
  void forward_pending(std::span<Sequence* const> sequences) const;

  std::shared_ptr<const model::heads::PathHead> head_;
  std::map<SlotId, Sequence> sequences_;
};

}  // namespace foretell::decoding::heads
