// A decoder-only transformer whose weights can be learned: the same families, weights and arithmetic as Transformer,
// with a graph.
//
// Contract: weights are float32 leaves in the fused shapes of TransformerWeights; they may be changed in place (by an
// optimiser) at any time. A frozen one asks for no gradients. named_weights() are views of them under the names and in
// the layout of a checkpoint (weight_list.h): filling, loading and saving all go through these views.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "framework/formats/safetensors.h"
#include "framework/formats/weight_list.h"
#include "framework/model/transformer.h"
#include "framework/training/autograd/expert_ops.h"
#include "framework/training/autograd/trainable.h"
#include "framework/training/autograd/training_ops.h"

namespace foretell::autograd {

struct NamedNorm {
  at::Tensor gain, bias;
};

// What a forward does in layers with experts, and what it saw there.
struct ExpertRun {
  const Router* router = nullptr;         // null: the checkpoint's own
  std::vector<RoutedStates> layers = {};  // filled: one for each layer with experts, in order
};

// What a forward pass hands out besides its last state, and which rows skip a layer.
struct LayerPlan {
  std::vector<int> states = {};          // behind so many layers, increasing, below the model's number
  std::vector<at::Tensor> factors = {};  // by layer float32 [rows, 1], times what it adds; undefined or none: 1
};
struct LayerStates {
  at::Tensor normed;               // behind the last layer
  std::vector<at::Tensor> states;  // un-normed, of LayerPlan::states
};

class TrainableTransformer {
 public:
  // All weights zero. An Error for a config that cannot be trained.
  TrainableTransformer(formats::ModelConfig config, at::Device device);

  const formats::ModelConfig& config() const { return config_; }
  at::Device device() const { return embedding_.device(); }

  // Matrices and embeddings normal with deviation 0.02, the matrices that write into the residual stream divided by
  // sqrt(2 layers) (Radford et al. 2019, section 2.3); gains 1, biases 0. A function of the seed and each tensor's
  // name. `Mimetic` then makes attention start as a search for what equals the current token, to be copied: queries
  // like their keys, outputs like transposed values (after Trockman & Kolter 2023, arXiv 2305.09828). Small models
  // learn to look things up in their prompt much earlier from there. `Induction` adds heads that copy what followed the
  // same words before (induction_start.h); an Error if the model has no room for them.
  enum class Start { Normal, Mimetic, Induction };
  void initialise(std::uint64_t seed, Start start = Start::Normal);
  // Copies the weights of a checkpoint folder, whose config must be this one's.
  void load(const std::filesystem::path& folder);
  void freeze();

  std::vector<TrainParameter> parameters() const;
  std::vector<NamedWeight> named_weights() const;
  std::int64_t parameter_count() const;

  // The final normed state of every row: [rows, hidden]. `added` [rows, hidden], where it is defined, is added to the
  // embeddings.
  at::Tensor forward(const TrainBatch& batch, ExpertRun* experts = nullptr, const at::Tensor& added = {}) const {
    return forward(batch, LayerPlan{}, experts, added).normed;
  }
  LayerStates forward(const TrainBatch& batch, const LayerPlan& plan, ExpertRun* experts = nullptr,
                      const at::Tensor& added = {}) const;
  // What the head reads of an un-normed state.
  at::Tensor final_norm(const at::Tensor& state) const { return normed(state, final_norm_); }
  // The layers with experts, in order, with the biases that are added to scores for the choice alone: undefined where
  // the model has none.
  std::vector<std::pair<int, at::Tensor>> selection_biases() const;
  const at::Tensor& head() const { return config_.tie_embeddings ? embedding_ : head_; }  // [vocab, hidden]
  at::Tensor logits(const at::Tensor& state) const;  // [rows, hidden] -> [rows, vocab]

  // A copy for inference, its weights rounded to `stored` and computed in float32: what a checkpoint saved in that type
  // will compute.
  std::shared_ptr<const model::LanguageModel> snapshot(at::ScalarType stored) const;

 private:
  struct Matrix {
    at::Tensor weight, bias;  // [out, in]; [out] or undefined
  };
  struct Layer {
    NamedNorm attention_norm;
    Matrix qkv, output;
    NamedNorm mlp_norm;
    Matrix up, down;  // not used where `experts` is there
    std::optional<TrainableExperts> experts = {};
  };

  using Visit = std::function<void(const std::string& name, const at::Tensor& value, bool decays)>;
  using Views = std::map<std::string, at::Tensor>;

  Layer make_layer(int index, at::Device device) const;
  TrainableExperts make_experts(at::Device device) const;
  model::ExpertBlock snapshot_experts(int index, const std::function<at::Tensor(const at::Tensor&)>& copy) const;
  // Of the normed states of a layer what its MLP or its experts add.
  at::Tensor mlp_of(int index, const at::Tensor& normed, const RoutedBatch* routed, ExpertRun& experts) const;
  void mimic_attention(Layer& layer) const;
  at::Tensor normed(const at::Tensor& x, const NamedNorm& norm) const;
  SumAndNorm sum_and_norm(const at::Tensor& x, const at::Tensor& y, const NamedNorm& norm) const;
  void each_tensor(const Visit& visit) const;
  void add_layer_weights(int index, Views& views) const;

  formats::ModelConfig config_;
  at::Tensor embedding_;
  at::Tensor positions_;
  std::vector<Layer> layers_;
  NamedNorm final_norm_;
  at::Tensor head_;  // undefined if tied
  std::vector<double> frequencies_;
  double magnitude_ = 1;
};

}  // namespace foretell::autograd
