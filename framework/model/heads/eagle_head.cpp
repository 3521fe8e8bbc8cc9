#include "framework/model/heads/eagle_head.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include "framework/core/error.h"

namespace foretell::model::heads {
namespace {

std::string layer_stem(int layer) { return fmt::format("layers.{}.", layer); }

void check_config(const formats::ModelConfig& config, const LanguageModel& target, const std::string& name) {
  if (const char* reason = unknown_layer(config)) fail("{}: is no EAGLE head that is known here: {}", name, reason);
  if (config.hidden_size != target.config().hidden_size)
    fail("{}: its hidden size is {}, that of the target {}", name, config.hidden_size, target.config().hidden_size);
  if (config.vocab_rows() < target.config().vocab_size)
    fail("{}: its vocabulary is {}, that of the target {}", name, config.vocab_rows(), target.config().vocab_size);
}

}  // namespace

std::vector<HeadTensor> EagleHead::tensors_of(const formats::ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  std::vector<HeadTensor> all = {{"embed_tokens.weight", {config.vocab_rows(), hidden}, false},
                                 {"fc.weight", {hidden, 2 * hidden}},
                                 {"fc.bias", {hidden}, false}};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    // The first layer has none: rows go through as they are.
    if (layer > 0) all.push_back({layer_stem(layer) + "input_layernorm.weight", {hidden}});
    add_layer_tensors(all, config, layer_stem(layer), hidden);
  }
  return all;
}

std::filesystem::path EagleHead::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

EagleHead EagleHead::made_of(const formats::ModelConfig& config, const HeadTensors& tensors, const std::string& name,
                             std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  check_config(config, *target, name);
  const NamedTensors named(tensors, tensors_of(config), name, "an EAGLE head", *target);
  TransformerWeights weights;
  for (int layer = 0; layer < config.num_layers; ++layer)
    weights.layers.push_back(layer_weights(named, config, layer_stem(layer)));
  weights.embedding = at::empty({1, config.hidden_size}, named.options());  // rows come in fused: never read
  EagleHead out;
  out.fc_ = named.linear({"fc"});
  out.embedding_ = named.get("embed_tokens.weight");
  out.layers_ = std::make_shared<Transformer>(config, std::move(weights));
  out.target_ = std::move(target);
  return out;
}

EagleHead EagleHead::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  const HeadFile file = HeadFile::open(file_of(folder));
  const formats::ModelConfig config = formats::load_model_config(folder);
  return made_of(config, file.load(is_rotary_buffer), file.name(), std::move(target));
}

// The residual stream starts as the newest token's embedding, as the target's does, so that a target with random
// weights agrees with it now and then; all else is noise beside.
EagleHead EagleHead::random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target) {
  const formats::ModelConfig config = layer_config_for(target->config());
  HeadTensors tensors = random_tensors(tensors_of(config), seed, 0.3F);
  tensors["fc.weight"].narrow(1, 0, config.hidden_size).diagonal().add_(embedding_scale(*target));
  return made_of(config, tensors, "a random head", std::move(target));
}

at::Tensor EagleHead::fuse(TokenSpan tokens, const at::Tensor& features) const {
  const c10::InferenceMode inference;
  const at::Tensor embedded = embed_tokens(embedding_, *target_, tokens);
  return fc_.forward(at::cat({embedded, features.to(embedded.options())}, 1));
}

at::Tensor EagleHead::forward(std::span<const ForwardItem> batch) const {
  ForwardOptions options;
  options.return_final_state = true;
  return layers_->forward(batch, options).final_state;
}

at::Tensor EagleHead::logits(const at::Tensor& features) const { return target_->parts()->head().logits(features); }

}  // namespace foretell::model::heads
