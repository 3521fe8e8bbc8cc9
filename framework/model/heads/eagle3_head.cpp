#include "framework/model/heads/eagle3_head.h"

#include <ATen/ops/cat.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/model/rope.h"
#include "framework/model/transformer_cache.h"

namespace foretell::model::heads {
namespace {

using formats::heads::Eagle3Config;

constexpr const char* kEagle3Stem = "midlayer.";

std::string eagle3_layer(int layer) { return fmt::format("layers.{}.", layer); }
std::string state_norm_name(int state) { return fmt::format("fc_norm.{}", state); }

bool is_apart(std::string_view name) { return is_rotary_buffer(name) || formats::heads::is_vocabulary_tensor(name); }

void check_eagle3(const Eagle3Config& config, const LanguageModel& target, const std::string& name) {
  const formats::ModelConfig& model = target.config();
  if (const char* reason = unknown_layer(config.layers))
    fail("{}: is no EAGLE-3 head that is known here: {}", name, reason);
  if (config.target_hidden != model.hidden_size)
    fail("{}: it reads states of width {}, the target's hidden size is {}", name, config.target_hidden,
         model.hidden_size);
  if (config.layers.vocab_rows() < model.vocab_size)
    fail("{}: its vocabulary is {}, that of the target {}", name, config.layers.vocab_rows(), model.vocab_size);
}

// How many states of the target fc reads.
int states_read(const HeadTensors& tensors, const Eagle3Config& config, const std::string& name) {
  const auto fc = tensors.find("fc.weight");
  if (fc == tensors.end()) fail("{}: tensor 'fc.weight' is missing", name);
  const auto shape = fc->second.sizes();
  if (shape.size() != 2 || shape[1] < config.target_hidden || shape[1] % config.target_hidden != 0)
    fail("{}: 'fc.weight' is {}, expected [{}, a multiple of {}]", name, formats::to_string(shape.vec()),
         config.layers.hidden_size, config.target_hidden);
  return static_cast<int>(shape[1] / config.target_hidden);
}

}  // namespace

std::vector<HeadTensor> Eagle3Head::tensors_of(const Eagle3Config& config, int states, const std::string& stem) {
  const std::int64_t hidden = config.layers.hidden_size, read = std::int64_t{states} * config.target_hidden;
  std::vector<HeadTensor> all = {
      {"embed_tokens.weight", {config.layers.vocab_rows(), hidden}, config.target_hidden != hidden},
      {"fc.weight", {hidden, read}},
      {"fc.bias", {hidden}, false},
      {"norm.weight", {hidden}},
      {"lm_head.weight", {config.draft_vocab, hidden}},
      {stem + "hidden_norm.weight", {hidden}},
      {stem + "input_layernorm.weight", {hidden}}};
  if (config.norm_before_fc) all.push_back({"input_norm.weight", {read}});
  for (int state = 0; config.fc_norm && state < states; ++state)
    all.push_back({state_norm_name(state) + ".weight", {config.target_hidden}});
  add_layer_tensors(all, config.layers, stem, 2 * hidden);
  for (int layer = 1; layer < config.layers.num_layers; ++layer) {
    all.push_back({eagle3_layer(layer) + "input_layernorm.weight", {hidden}});
    add_layer_tensors(all, config.layers, eagle3_layer(layer), hidden);
  }
  return all;
}

Eagle3Config Eagle3Head::config_for(const formats::ModelConfig& target) {
  const int layers = target.num_layers;
  Eagle3Config out;
  out.layers = layer_config_for(target);
  out.draft_vocab = target.vocab_size;
  out.target_hidden = target.hidden_size;
  out.states = layers < 8 ? std::vector<int>{(layers + 1) / 3, (2 * layers + 1) / 3, layers}
                          : std::vector<int>{2, layers / 2, layers - 3};
  return out;
}

std::filesystem::path Eagle3Head::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

Eagle3Head Eagle3Head::made_of(const Eagle3Config& config, const HeadTensors& tensors, std::vector<Token> ids,
                               const std::string& name, std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  check_eagle3(config, *target, name);
  const int states = states_read(tensors, config, name);
  const bool middle =
      std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.first.starts_with(kEagle3Stem); });
  const std::string stem = middle ? kEagle3Stem : eagle3_layer(0);
  const NamedTensors named(tensors, tensors_of(config, states, stem), name, "an EAGLE-3 head", *target);
  const double eps = config.layers.norm_eps;
  Eagle3Head out;
  out.config_ = config;
  out.config_.states = formats::heads::read_states(config, states, target->config().num_layers, name);
  out.options_ = named.options();
  out.frequencies_ = rope_frequencies(config.layers);
  out.magnitude_ = rope_magnitude(config.layers.rope);
  out.embedding_ = named.get("embed_tokens.weight");
  for (int state = 0; config.fc_norm && state < states; ++state)
    out.fc_norms_.push_back(named.norm(state_norm_name(state), eps));
  out.fc_norm_ = named.norm("input_norm", eps);
  out.token_norm_ = named.norm(stem + "input_layernorm", eps);
  out.state_norm_ = named.norm(stem + "hidden_norm", eps);
  out.output_norm_ = named.norm("norm", eps);
  out.fc_ = named.linear({"fc"});
  for (int layer = 0; layer < config.layers.num_layers; ++layer)
    out.layers_.emplace_back(config.layers, layer,
                             layer_weights(named, config.layers, layer == 0 ? stem : eagle3_layer(layer)));
  out.output_ = LinearHead(named.linear({"lm_head"}), config.draft_vocab);
  out.ids_ = std::move(ids);
  out.target_ = std::move(target);
  return out;
}

Eagle3Head Eagle3Head::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  const HeadFile file = HeadFile::open(file_of(folder));
  const Eagle3Config config = formats::heads::load_eagle3_config(folder);
  std::vector<Token> ids =
      formats::heads::draft_vocabulary(file.tensors(), config.draft_vocab, target->config().vocab_size, file.name());
  return made_of(config, file.load(is_apart), std::move(ids), file.name(), std::move(target));
}

// The stream of a draft's row starts as what the row was conditioned on, so that a target with random weights agrees
// with it now and then: the newest of the states that are read, behind the target's own head.
Eagle3Head Eagle3Head::random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target) {
  const Eagle3Config config = config_for(target->config());
  const int states = static_cast<int>(config.states.size());
  const std::int64_t hidden = config.layers.hidden_size;
  HeadTensors tensors = random_tensors(tensors_of(config, states, kEagle3Stem), seed, 1.0F);
  tensors["fc.weight"].mul_(0.3).narrow(1, (states - 1) * hidden, hidden).diagonal().add_(1);
  return made_of(config, tensors, {}, "a random head", std::move(target));
}

at::Tensor Eagle3Head::states_of(const HiddenStates& hidden) const { return at::cat(hidden.aux_states, 1); }

at::Tensor Eagle3Head::condition(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  at::Tensor read = fc_norm_.forward(states.to(options_));
  if (!fc_norms_.empty()) {
    std::vector<at::Tensor> parts;
    for (std::size_t i = 0; i < fc_norms_.size(); ++i)
      parts.push_back(fc_norms_[i].forward(
          read.narrow(1, static_cast<std::int64_t>(i) * config_.target_hidden, config_.target_hidden).contiguous()));
    read = at::cat(parts, 1);
  }
  return fc_.forward(read);
}

std::unique_ptr<KvCache> Eagle3Head::make_cache(int capacity) const {
  const c10::InferenceMode inference;
  const formats::ModelConfig& config = config_.layers;
  return std::make_unique<TransformerCache>(config.num_layers, config.num_kv_heads, capacity, config.head_dim, options_,
                                            config.value_dim());
}

at::Tensor Eagle3Head::fuse(TokenSpan tokens, const at::Tensor& features) const {
  const c10::InferenceMode inference;
  return at::cat({embed_tokens(embedding_, *target_, tokens), features.to(options_)}, 1);
}

at::Tensor Eagle3Head::forward(std::span<const ForwardItem> batch) const {
  const c10::InferenceMode inference;
  const LayerRange layers{0, config_.layers.num_layers};
  const std::int64_t hidden = config_.layers.hidden_size;
  const BatchPlan plan = plan_batch(batch, {layers, config_.layers.context, frequencies_, magnitude_, options_,
                                            config_.layers.sliding_window, false});
  std::vector<at::Tensor> inputs;
  for (const ForwardItem& item : batch) inputs.push_back(std::get<at::Tensor>(item.input));
  const at::Tensor rows = at::cat(inputs), state = rows.narrow(1, hidden, hidden).contiguous();
  const at::Tensor normed = state_norm_.forward(state);
  const at::Tensor read = at::cat({token_norm_.forward(rows.narrow(1, 0, hidden).contiguous()), normed}, 1);
  at::Tensor x = config_.norm_before_residual ? normed : state;
  layers_[0].attention(x, read, plan, 0);
  layers_[0].mlp(x);
  for (int layer = 1; layer < layers.last; ++layer) layers_[static_cast<std::size_t>(layer)].forward(x, plan, layer);
  for (const ItemPlan& item : plan.items) item.cache->grow(layers, item.rows);
  return config_.norm_output ? output_norm_.forward(x) : x;
}

at::Tensor Eagle3Head::logits(const at::Tensor& features) const {
  const c10::InferenceMode inference;
  return output_.logits(config_.norm_output ? features : output_norm_.forward(features));
}

}  // namespace foretell::model::heads
