// The mixture of experts of one layer.
//
// Contract: inference only. Rows are sorted by expert and every expert that a row was sent to multiplies its rows once,
// so cost grows with the experts touched and not with all there are. A row's sum is formed in float32 (float64 models:
// float64) in the experts' order and rounded once; the gate's products are in float32 whatever the weights are, each
// row's by itself: near ties must fall alike in drafts and when they are verified.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/api/router.h"
#include "framework/formats/model_config.h"
#include "framework/model/layers.h"
#include "framework/model/linear.h"

namespace foretell::model {

// The checkpoint's own rule of its experts, in the words of routers.
ExpertRule expert_rule(const formats::MoeConfig& moe);
// That rule as a router: what is used where no other one is given. Of equal scores the lower expert is chosen.
const Router& checkpoint_router();

struct Expert {
  Linear up = {};    // [2 * size, hidden], the gate first
  Linear down = {};  // [hidden, size]
  std::size_t bytes() const { return up.bytes() + down.bytes(); }
};

// Gives a x + b value, (a, b) = softmax(mix x).
struct ConstantExpert {
  at::Tensor mix = {}, value = {};  // [2, hidden], [1, hidden]
};

struct ExpertWeights {
  at::Tensor gate;            // [experts, hidden], in the model's type; experts without matrices are the last ones
  at::Tensor selection_bias;  // [experts] or undefined
  std::vector<Expert> experts;
  std::vector<ConstantExpert> constants = {};
  Expert shared = {};      // empty if there is none
  at::Tensor shared_gate;  // [1, hidden] or undefined
};

// What a forward tells its layers' experts.
class ForwardProbe;

struct ExpertContext {
  const Router* router = nullptr;  // null: the checkpoint's
  std::span<const int> positions = {};
  std::span<const Token> tokens = {};      // what RouterRows has, of routers that are not the checkpoint's
  std::span<const int> parents = {};       // likewise
  std::span<const RoutedItem> items = {};  // likewise
  RoutedLayer* routed = nullptr;           // receives which experts each row was sent to
  std::vector<int>* by_row = nullptr;      // receives how many experts each row was sent to
  ForwardProbe* probe = nullptr;           // as ForwardOptions'
};

class ExpertBlock {
 public:
  ExpertBlock(const formats::ModelConfig& config, int layer, ExpertWeights weights);

  at::Tensor forward(const at::Tensor& x, const ExpertContext& context) const;  // [rows, hidden]

  std::size_t bytes_for_one_row() const;
  // Those of the experts' matrices; the gate keeps its own.
  void round_weights(const WeightRounding& to);

 private:
  std::vector<float> logits_of(const at::Tensor& x) const;
  Routing routing_of(const at::Tensor& x, const ExpertContext& context) const;
  at::Tensor rows_of(const Expert& expert, const at::Tensor& x) const;
  // Of an expert without matrices; undefined where it gives nothing.
  at::Tensor free_rows(int expert, const at::Tensor& x) const;
  void add_shared(const at::Tensor& x, at::Tensor& sum) const;

  formats::MoeConfig moe_;
  ExpertRule rule_;
  Activation activation_;
  int layer_;
  ExpertWeights weights_;
  Linear gate_, shared_gate_;
  std::vector<float> selection_bias_;
};

}  // namespace foretell::model
