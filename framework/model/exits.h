// How far the rows of one forward go: which of them a layer computes, which of them leave, and what then stands in the
// cache for the layers above.
//
// Contract: internal to a model's forward. Rows leave where ForwardItem::leaves says so, or where an exit policy
// decides. The former leave their state's keys and values to the layers above, the latter what ExitRules::kv says.
// Under KvRule::Recompute a row that is answered goes on with its item until all rows of the item are answered: rows
// that go deeper read keys and values that are the layers' own. Then the item stops, and its rows are owed to the
// caller, to be resumed (ForwardResult::reached). What happens at a layer depends on the rows' own items alone, unless
// the policy says otherwise.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "framework/model/batch_plan.h"

namespace foretell::model {

class RowExits {
 public:
  RowExits(std::span<const ForwardItem> batch, const BatchPlan& plan, const ForwardOptions& options, LayerRange layers,
           int num_layers);

  // Whether all rows go through all layers: then there is nothing to ask here.
  bool trivial() const { return trivial_; }
  std::vector<int> working(int layer) const;  // rows that this layer computes
  std::vector<int> stored(int layer) const;   // rows that have left and whose state this layer stores
  // Whether something is decided behind this many layers.
  bool decides(int level) const { return asked_at(level); }
  // x [rows, hidden]: the states behind so many layers.
  void decide(int level, const at::Tensor& x, const ModelParts& parts);

  // What the rows are answered by, of their states behind the last layer: those that they left with.
  at::Tensor answering(const at::Tensor& x) const;
  // The logits of a row that left by a head of its own, or that the policy looked at; undefined if there are none.
  const at::Tensor& logits(int row) const { return logits_[static_cast<std::size_t>(row)]; }
  void report(ForwardResult& result) const;  // to the policy, too

 private:
  bool asked_at(int level) const;
  std::vector<int> candidates(int level) const;
  std::vector<char> ask(int level, const std::vector<int>& rows, const at::Tensor& states, const at::Tensor& logits);
  void leave(int level, const std::vector<int>& rows);
  void stop_answered_items(int level);
  void copy_up(int level, const ItemPlan& item, const std::vector<int>& rows) const;

  std::span<const ForwardItem> batch_;
  const BatchPlan& plan_;
  const ExitRules* rules_;
  LayerRange layers_;
  std::vector<int> asked_;  // behind how many layers the policy is asked
  bool trivial_;
  // By row; empty if trivial. `left_`: behind how many layers it was answered; `stops_`: how far it was computed.
  std::vector<int> enters_, left_, stops_, probes_;
  std::vector<char> stored_;         // whether the layers above store its state once it has stopped
  std::vector<at::Tensor> logits_;   // by row
  std::vector<ExitRow> asked_rows_;  // at the first layer that was asked
  // Of the layer asked before.
  at::Tensor previous_;
  std::vector<int> previous_rows_;
  // Under Recompute the states that rows left with.
  struct Answered {
    at::Tensor rows, states;
  };
  std::vector<Answered> answered_;
};

}  // namespace foretell::model
