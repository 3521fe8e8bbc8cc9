// One sequence of a ModelTarget: the cache, the round's rows, and the provisional rows that a self-drafting strategy
// has put there.
//
// Contract: internal to model_target.cpp. A round is: any number of provisional() and take() calls, begin_scoring(),
// one forward over item(), keep(). The rows of a round lie behind the committed ones in row order: provisional rows
// that the draft names, which resume where they left, then the draft's other nodes.
// Committed rows may be owed the keys and values of upper layers (KvRule::Recompute): they are the last committed ones,
// and the first rows of the next forward.
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
  // Scored under `rules`, which outlive it.
  ModelTargetSession(const model::LanguageModel& model, const Request& request, int capacity, int prefill_chunk,
                     const ForwardRules& rules, const HiddenStateRequest& wants);

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
  void drop_provisional() override;  // out of the cache, too
  model::KvCache& lend() override;

  const HiddenStateRequest& required_hidden_states() const { return wants_; }
  void begin_scoring(const DraftTree& draft);  // lays out the rows of this draft
  model::ForwardItem item() const;
  const std::vector<int>& row_of_node() const { return row_of_node_; }  // rows of item(): owed ones come first
  // By row of item(); the first row's is itself.
  const std::vector<NodeId>& row_parents() const { return row_parents_; }
  // The scoring forward, whose last_state was asked for: rows that stopped on their way are owed the rest.
  void take_scored(const model::ForwardResult& result, int first);
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

  int owed() const { return static_cast<int>(owed_.tokens.size()); }
  void pay();  // computes what is owed
  bool can_resume(const EarlyRow& row) const;
  void forget_provisional();  // they have become committed rows, or none
  void take_back();           // the cache, without what was appended while it was lent
  void keep_named(const DraftTree& draft);

  const model::LanguageModel& model_;
  std::unique_ptr<model::KvCache> cache_;
  HiddenStateRequest wants_;
  int prefill_chunk_;
  const ForwardRules& rules_;
  std::unique_ptr<AttentionPolicy> attention_;  // of the rules
  std::uint64_t request_;
  int max_new_tokens_;
  int committed_ = 0;
  bool lent_ = false;

  // Rows that stopped behind so many layers with these states: the last committed ones.
  struct Owed {
    Tokens tokens;
    std::vector<int> reached;
    at::Tensor state;  // [rows, hidden]
  };
  Owed owed_;
  Owed scored_;  // of all rows of the scoring forward, until keep() says which are committed; empty if all are complete

  // Provisional rows of this round. Until they are scored, item_tokens_ and early_parents_ are what the last item of
  // provisional() points to.
  std::vector<EarlyRow> early_;
  Tokens item_tokens_;
  std::vector<NodeId> early_parents_;
  at::Tensor early_state_;                    // [rows taken, hidden]
  std::vector<at::Tensor> early_aux_states_;  // of each wanted layer the same; what a row has not reached is never read

  // The layout of the draft that is being scored. The first rows resume: what is owed, or else provisional rows.
  int resumed_ = 0;
  Tokens row_tokens_;
  std::vector<NodeId> row_parents_;
  std::vector<int> row_enters_;  // empty if none resumes
  std::vector<int> row_of_node_;
};

}  // namespace foretell::decoding
