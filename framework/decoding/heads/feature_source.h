// A head that predicts the target's next state as the source of a draft's levels (EAGLE, EAGLE-3): the draft goes on
// from states that the head itself has said.
//
// Contract: a sequence has a cache of the head's keys and values with one row for each pair of a state and the token
// behind it (FeatureHead). Rows of committed text are always computed from the target's own states: what a draft has
// computed from predicted ones is dropped before the next draft, accepted or not, and computed again. So a draft is a
// function of the committed text. Nothing is drafted before there is a pair: behind a prompt of one token. All
// sequences of the batch go through one forward a level.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "framework/decoding/bases/level_source.h"
#include "framework/model/heads/feature_head.h"

namespace foretell::decoding::heads {

class FeatureSource final : public bases::LevelSource {
 public:
  explicit FeatureSource(std::shared_ptr<const model::heads::FeatureHead> head) : head_(std::move(head)) {}

  HiddenStateRequest required_hidden_states() const override {
    return {.aux_states = head_->aux_states(), .final_state = head_->aux_states().empty()};
  }
  std::span<const Token> target_ids() const override { return head_->target_ids(); }
  int deepest() const override { return 4096; }
  bool rewinds() const override { return false; }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  bases::LevelRows level(std::span<const bases::LevelRequest> batch, int depth) override;

 private:
  struct Sequence {
    std::unique_ptr<model::KvCache> cache;
    int most_nodes = 0;
    int committed = 0;                      // rows of the cache that are of committed text
    std::vector<at::Tensor> pending = {};   // the target's states of the positions behind them, [rows, width] each
    std::vector<NodeId> forwarded = {};     // nodes of the draft by row behind the committed ones
    std::vector<at::Tensor> features = {};  // [hidden] by row from the last committed one on
    std::vector<NodeId> parents = {};       // of these rows, as the forward's tree has them

    NodeId row_of(NodeId node) const;
  };
  // What one forward of a level is made of.
  struct Rows {
    std::vector<Sequence*> of;     // by item
    std::vector<int> counts;       // rows by item
    std::vector<int> with_logits;  // rows that are answered
    Tokens tokens;
    std::vector<at::Tensor> features;  // at depth 1 the target's states
    int size() const { return static_cast<int>(tokens.size()); }
  };

  bool start(Sequence& sequence, const DraftContext& context, Rows& rows);
  bool grow(Sequence& sequence, const bases::LevelRequest& request, int depth, Rows& rows) const;
  void prefill(Sequence& sequence, TokenSpan committed) const;
  at::Tensor forward(const Rows& rows, int depth) const;

  std::shared_ptr<const model::heads::FeatureHead> head_;
  std::map<SlotId, Sequence> sequences_;
};

}  // namespace foretell::decoding::heads
