// One sequence of a ModelTarget: the cache, the round's rows, and the provisional rows that a self-drafting strategy
// has put there.
//
// Contract: internal to model_target.cpp. A round is: any number of provisional() and take() calls, begin_scoring(),
// one forward over item(), keep(). The rows of a round lie behind the committed ones in row order: provisional rows
// that the draft names, which resume where they left, then the draft's other nodes.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "framework/api/target.h"
#include "framework/decoding/forward_rules.h"
#include "framework/decoding/target_view.h"
#include "framework/model/hidden.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {

class ModelTargetSession final : public TargetSession, public TargetView {
 public:
  // Scored under `rules`.
  ModelTargetSession(const model::LanguageModel& model, int capacity, int prefill_chunk, const ForwardRules& rules,
                     const HiddenRequest& wants);

  void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) override;
  void keep(std::span<const NodeId> accepted) override;
  int length() const override { return committed_; }
  int room() const override { return cache_->capacity() - committed_; }
  int positions_left() const override { return model_.config().context - committed_; }
  TargetView* view() override { return this; }

  int num_layers() const override { return model_.config().num_layers; }
  model::ForwardItem provisional(std::span<const DraftNode> nodes) override;
  void ask(model::ForwardOptions& options) const override;
  void take(const model::ForwardResult& result, int first_row) override;
  model::KvCache& lend() override;

  const HiddenRequest& wants() const { return wants_; }
  void begin_scoring(const DraftTree& draft);  // lays out the rows of this draft
  model::ForwardItem item() const;
  const std::vector<int>& row_of_node() const { return row_of_node_; }
  // The hidden states that were wanted, by node. `finished` is the scoring forward, `first` this sequence's first row
  // in it.
  model::HiddenStates hidden(const model::ForwardResult& finished, int first) const;

 private:
  // A provisional row. `state`: where its state is in early_state_, -1 if it was not taken; `left`: how many layers it
  // had behind it then.
  struct EarlyRow {
    DraftNode node;
    int state = -1, left = 0;
  };

  bool can_resume(const EarlyRow& row) const;
  void forget_provisional();  // they have become committed rows, or none
  void drop_provisional();    // out of the cache too
  void take_back();           // the cache, without what was appended while it was lent
  void keep_named(const DraftTree& draft);

  const model::LanguageModel& model_;
  std::unique_ptr<model::KvCache> cache_;
  HiddenRequest wants_;
  int prefill_chunk_;
  bool own_rules_;                              // the target is scored under the checkpoint's
  std::unique_ptr<AttentionPolicy> attention_;  // of its rules
  int committed_ = 0;
  bool lent_ = false;

  // Provisional rows of this round. Until they are scored, item_tokens_ and early_parents_ are what the last item of
  // provisional() points to.
  std::vector<EarlyRow> early_;
  Tokens item_tokens_;
  std::vector<NodeId> early_parents_;
  at::Tensor early_state_;              // [rows taken, hidden]
  std::vector<at::Tensor> early_taps_;  // of each wanted tap the same; what a row has not reached is never read

  // The layout of the draft that is being scored. The first rows resume.
  int resumed_ = 0;
  Tokens row_tokens_;
  std::vector<NodeId> row_parents_;
  std::vector<int> row_enters_;  // empty if none resumes
  std::vector<int> row_of_node_;
};

}  // namespace foretell::decoding
