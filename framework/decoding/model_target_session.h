// One sequence of a ModelTarget: the cache, the round's rows, and the provisional rows that a self-drafting strategy
// has put there.
//
// Contract: internal to model_target.cpp. A round is: any number of forward_early() calls, begin_scoring(), one forward
// over item(), keep(). The rows of a round lie behind the committed ones in row order: provisional rows that the draft
// names, then the draft's other nodes.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "framework/api/target.h"
#include "framework/decoding/target_view.h"
#include "framework/model/hidden.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {

class ModelTargetSession final : public TargetSession, public TargetView {
 public:
  ModelTargetSession(const model::LanguageModel& model, int capacity, int prefill_chunk, const HiddenRequest& wants);

  void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) override;
  void keep(std::span<const NodeId> accepted) override;
  int length() const override { return committed_; }
  int room() const override { return cache_->capacity() - committed_; }
  int positions_left() const override { return model_.config().context - committed_; }
  TargetView* view() override { return this; }

  int num_layers() const override { return model_.config().num_layers; }
  EarlyResult forward_early(std::span<const DraftNode> nodes, const model::LayerSet& computed) override;
  model::KvCache& lend() override;

  const HiddenRequest& wants() const { return wants_; }
  // Lays out the rows of this draft. The layer at which scoring starts: 0, or above it if all rows have gone through
  // the layers below.
  int begin_scoring(const DraftTree& draft);
  model::ForwardItem item() const;  // for the layers from begin_scoring()'s answer on
  const std::vector<int>& row_of_node() const { return row_of_node_; }
  // The hidden states that were wanted, by node. `finished` are the taps of the scoring forward in the order of
  // taps_from(resume), `first` is this sequence's first row in it.
  model::HiddenStates hidden(const model::ForwardResult& finished, int first) const;

 private:
  model::ForwardResult append_provisional(std::span<const DraftNode> nodes, model::LogitRows logits);
  std::optional<int> resumable_layers() const;
  void drop_provisional();    // out of the cache too
  void take_back();           // the cache, without what was appended while it was lent
  void forget_provisional();  // they have become committed rows
  void keep_named(const DraftTree& draft);

  const model::LanguageModel& model_;
  std::unique_ptr<model::KvCache> cache_;
  HiddenRequest wants_;
  int prefill_chunk_;
  int committed_ = 0;
  bool lent_ = false;

  // Provisional rows of this round.
  std::vector<DraftNode> early_;
  std::optional<model::LayerSet> early_set_;
  at::Tensor early_state_;              // [rows, hidden], leaving the early layers
  std::vector<at::Tensor> early_taps_;  // the wanted taps that lie in the early layers: [rows, hidden] each

  // The layout of the draft that is being scored.
  int resume_ = 0;
  Tokens row_tokens_;
  std::vector<NodeId> row_parents_;
  std::vector<int> row_of_node_;
};

// Those of the wanted taps that a forward from layer `resume` on can give.
std::vector<int> taps_from(const HiddenRequest& wants, int resume);

}  // namespace foretell::decoding
