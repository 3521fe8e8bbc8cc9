// What learners of heads share that draft state after state (EAGLE's layer, EAGLE-3's): the decoder layer, the steps of
// a draft behind every row at once, and which drafts a text would accept.
//
// Contract: step s of a draft is computed for all rows of a batch: row t reads the state that its draft has reached and
// the token s + 1 places behind t, and sees the true pairs up to t and its own rows of steps 1 to s, exactly as the
// drafter does. What it says is about the place s + 1 behind t.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/formats/model_config.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learner.h"

namespace foretell::model::heads {
class FeatureHead;
}

namespace foretell::training::learners {

using NamedTensorList = std::vector<std::pair<std::string, at::Tensor>>;

// Llama's decoder layer without the norm before its attention.
class UnrolledLayer {
 public:
  UnrolledLayer() = default;
  // New weights; its attention reads rows of width `input`.
  UnrolledLayer(formats::ModelConfig config, std::int64_t input, std::int64_t seed, at::Device device);

  // `steps` has the steps before, and gets this one. x [rows, hidden] is the stream, `read` what attention reads.
  at::Tensor forward(const autograd::TrainBatch& batch, at::Tensor x, const at::Tensor& read,
                     std::vector<autograd::UnrolledStep>& steps) const;
  void add_parameters(std::vector<autograd::TrainParameter>& all) const;
  // Under the names of the published files, behind `stem`.
  void add_named(NamedTensorList& all, const std::string& stem) const;

 private:
  std::int64_t queries() const { return std::int64_t{config_.num_heads} * config_.head_dim; }
  std::int64_t keys() const { return std::int64_t{config_.num_kv_heads} * config_.head_dim; }

  formats::ModelConfig config_;
  std::vector<double> frequencies_;
  at::Tensor qkv_, attended_, norm_, up_, down_;
};

// The token behind each row, 0 where the batch does not say.
at::Tensor tokens_behind(const autograd::TrainBatch& batch, const NextTokens& next);

// The rows of a step that say something which a batch knows, and what is true there.
struct Said {
  at::Tensor state, expected;  // [n, hidden]; expected: the target's final state
  at::Tensor targets, weights;
};
Said said(const autograd::TrainBatch& batch, const at::Tensor& states, int step);

// Learner::draft_hits() of a head, from `states` of the target by row (FeatureHead::states_of).
at::Tensor draft_hits_of(const model::heads::FeatureHead& head, const autograd::TrainBatch& batch,
                         const at::Tensor& states, int depth);

}  // namespace foretell::training::learners
