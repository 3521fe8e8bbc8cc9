// What can be trained: weights with names, and a loss over a batch of token rows.
//
// Contract: parameters() are the same leaf tensors on every call, in a fixed order, each with requires_grad set; the
// optimiser changes them in place. loss() builds a graph from them and changes nothing. A batch is flat, as in
// language_model.h: the rows of all its sequences one after another, in groups of sequences of one length, so that
// attention runs once a group and everything else once a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/formats/weight_list.h"
#include "framework/model/hidden.h"

namespace foretell::autograd {

struct TrainParameter {
  std::string name;
  at::Tensor value;    // a leaf
  bool decays = true;  // matrices do; norms, biases and embeddings do not
};

struct NamedWeight {
  formats::WeightSpec spec;
  at::Tensor value;  // without a graph; as stored: GPT-2's matrices are transposed views
};

// Sequences of one length whose rows lie one behind the other.
struct RowGroup {
  std::int64_t first_row = 0;
  std::int64_t sequences = 0;
  std::int64_t length = 0;
  // float32 [length, length], added to a row's scores: 0 where it sees the other, -infinity where not. Undefined: a row
  // sees those up to itself.
  at::Tensor bias = {};
};

struct TrainBatch {
  at::Tensor tokens;     // int64 [rows]
  at::Tensor positions;  // int64 [rows], from 0 in each sequence
  std::vector<RowGroup> groups;
  at::Tensor loss_rows;        // int64 [n]: the rows that are to predict something
  at::Tensor targets;          // int64 [n]: the token that follows each
  at::Tensor weights;          // float32 [n]
  model::HiddenStates target;  // of a frozen target, by row, without a graph: what the learner asked for
  double normaliser =
      1;  // what the weighted sum of losses is divided by: the sum of weights over all batches of one optimiser step
  int step = 0, steps = 0;  // of the optimiser: those done before, and all; for losses that change along a run
};

struct LossTerm {
  std::string name;
  at::Tensor value;  // a scalar without a graph
};

struct TrainLoss {
  at::Tensor total;             // a scalar to go backward from
  std::vector<LossTerm> terms;  // what it is made of, for the curve
};

class Trainable {
 public:
  virtual ~Trainable() = default;
  virtual std::vector<TrainParameter> parameters() const = 0;
  virtual TrainLoss loss(const TrainBatch& batch) const = 0;
  // After the optimiser has changed the parameters: what is learned without a gradient.
  virtual void after_step() {}
};

}  // namespace foretell::autograd
