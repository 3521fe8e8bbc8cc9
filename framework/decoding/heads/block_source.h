// A head that drafts a block at once as the source of a draft's levels (DFlash, DFlash2, DSpark).
//
// Contract: a sequence has a cache of the head's keys and values of the target's states, a row for each position before
// the last committed token; what a block has computed is never kept. At depth 1 the block behind the committed text
// goes through the head, whatever the budget: a draft is a function of the committed text. Its levels share rows where
// the head does not look at the tokens before; else a level corrects each node's row by its own path. All sequences of
// the batch go through one forward.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "framework/decoding/bases/level_source.h"
#include "framework/decoding/heads/state_reader.h"
#include "framework/model/heads/block_head.h"

namespace foretell::decoding::heads {

class BlockSource final : public bases::LevelSource {
 public:
  // `least_confidence`: nothing follows a path whose product of confidences is below it.
  BlockSource(std::shared_ptr<const model::heads::BlockHead> head, double least_confidence)
      : head_(std::move(head)), reader_(head_->config().places), least_confidence_(least_confidence) {}

  HiddenStateRequest required_hidden_states() const override { return reader_.request(); }
  int deepest() const override { return head_->config().levels(); }
  bool rewinds() const override { return false; }
  std::span<const Token> target_ids() const override { return head_->target_ids(); }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  bases::LevelRows level(std::span<const bases::LevelRequest> batch, int depth) override;

 private:
  struct Sequence {
    std::unique_ptr<model::KvCache> cache;
    std::vector<at::Tensor> pending = {};  // context rows that are not in the cache
    int slots = 0;                         // of this draft's block; 0: there is none
    std::int64_t first = 0;                // of them in states_
  };

  void add(Sequence& sequence, const at::Tensor& states) const;
  bool start(Sequence& sequence, const DraftContext& context) const;
  void draft_blocks(std::span<const bases::LevelRequest> batch);
  // Of the rows that speak: where the node's next token stands, or none.
  std::int64_t row_of(const Sequence& sequence, int depth) const;
  at::Tensor corrected(const bases::LevelRequest& request, const Sequence& sequence, NodeId node, int depth) const;
  bool confident(const bases::LevelRequest& request, const Sequence& sequence, NodeId node, int depth) const;

  std::shared_ptr<const model::heads::BlockHead> head_;
  StateReader reader_;
  double least_confidence_;
  std::map<SlotId, Sequence> sequences_;
  at::Tensor states_, base_;  // of all slots of the batch that is drafted, and their logits
  HostLogits logits_;
};

}  // namespace foretell::decoding::heads
