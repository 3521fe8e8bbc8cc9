#include "framework/model/heads/prediction_head.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/model_weights.h"
#include "framework/formats/weight_list.h"
#include "framework/model/heads/state_places.h"
#include "framework/model/load_model.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {
namespace {

constexpr const char* kWhat = "a prediction layer";

// Beside the layer's own.
std::vector<HeadTensor> fusing_tensors(std::int64_t hidden) {
  return {{"enorm.weight", {hidden}}, {"hnorm.weight", {hidden}}, {"eh_proj.weight", {hidden, 2 * hidden}}};
}

// The tensors of the layer in the model's checkpoint, under the names that a model of one layer has.
class StoredLayer {
 public:
  StoredLayer(const formats::Checkpoint& checkpoint, const formats::ModelConfig& model)
      : checkpoint_(checkpoint), names_(formats::weight_names(model.naming)), number_(model.num_layers) {
    const std::string part = fmt::format("{}.{}.", names_.layers, number_);
    for (const auto& [name, tensor] : checkpoint.tensors())
      for (const std::string& stem : {names_.prefix + part, part})
        if (name.starts_with(stem)) stem_ = stem;
    if (stem_.empty())
      fail("{}: there is no prediction layer: no tensor '{}{}...', behind the model's layers 0 to {}",
           checkpoint.name(), names_.prefix, part, number_ - 1);
    for (const auto& [name, tensor] : checkpoint.tensors())
      if (name.starts_with(stem_)) place(name, name.substr(stem_.size()));
    own_embedding = lend(names_.embedding, stem_ + "embed_tokens.weight");
    own_head = lend(names_.head, stem_ + "shared_head.head.weight");
  }

  const std::string& stem() const { return stem_; }
  const std::map<std::string, std::string>& new_names() const { return new_names_; }
  const std::vector<std::string>& fusing() const { return fusing_; }
  // As the file has it.
  std::string given_name(const std::string& name) const {
    for (const auto& [given, renamed] : new_names_)
      if (renamed == name) return given;
    const std::string layer = formats::layer_weight_name(formats::WeightNaming::Llama, 0, "");
    if (name.starts_with(layer)) return stem_ + name.substr(layer.size());
    return name == fmt::format("{}.weight", names_.final_norm) ? stem_ + "shared_head.norm.weight" : name;
  }

  bool own_embedding = false, own_head = false;

 private:
  void place(const std::string& name, const std::string& part) {
    if (part == "enorm.weight" || part == "hnorm.weight" || part == "eh_proj.weight")
      fusing_.push_back(name);
    else if (part == "embed_tokens.weight")
      new_names_[name] = names_.embedding;
    else if (part == "shared_head.head.weight")
      new_names_[name] = names_.head;
    else if (part == "shared_head.norm.weight")
      new_names_[name] = fmt::format("{}.weight", names_.final_norm);
    else
      new_names_[name] = fmt::format("{}{}.0.{}", names_.prefix, names_.layers, part);
  }
  // Whether the layer has it; the model's own else.
  bool lend(const std::string& name, const std::string& own) {
    if (new_names_.contains(own)) return true;
    for (const std::string& stored :
         {name, name.starts_with(names_.prefix) ? name.substr(std::string_view(names_.prefix).size()) : name})
      if (checkpoint_.tensors().contains(stored)) {
        new_names_[stored] = name;
        return false;
      }
    return false;
  }

  const formats::Checkpoint& checkpoint_;
  formats::WeightNames names_;
  int number_;
  std::string stem_;
  std::map<std::string, std::string> new_names_;
  std::vector<std::string> fusing_;
};

// The config of a model of that layer alone.
formats::ModelConfig one_layer(formats::ModelConfig config, const StoredLayer& layer) {
  const bool sparse = config.is_sparse(config.num_layers);
  config.moe.dense_layers.clear();
  if (config.moe.experts > 0 && !sparse) config.moe.dense_layers = {0};
  config.num_layers = 1;
  config.prediction_layers = 0;
  config.full_layers.clear();
  config.tie_embeddings = !layer.own_head && config.tie_embeddings;
  return config;
}

// Every tensor has its place and every place its tensor; messages use the file's names.
void check_names(const formats::Checkpoint& checkpoint, const formats::ModelConfig& config, const StoredLayer& layer) {
  std::vector<std::string> known;
  for (const formats::WeightSpec& spec : formats::weight_list(config)) {
    known.push_back(spec.name);
    const bool there =
        std::ranges::any_of(layer.new_names(), [&](const auto& entry) { return entry.second == spec.name; });
    if (!there && !config.int4) fail("{}: tensor '{}' is missing", checkpoint.name(), layer.given_name(spec.name));
  }
  for (const auto& [given, renamed] : layer.new_names())
    if (given.starts_with(layer.stem()) && !config.int4 && std::ranges::find(known, renamed) == known.end() &&
        !formats::is_ignorable_weight(config, renamed))
      fail("{}: '{}' is no tensor of {} of this config", checkpoint.name(), printable(given), kWhat);
}

}  // namespace

std::filesystem::path PredictionHead::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

std::vector<HeadTensor> PredictionHead::tensors_of(const formats::ModelConfig& layer) {
  std::vector<HeadTensor> all = fusing_tensors(layer.hidden_size);
  all.push_back({"shared_head.norm.weight", {layer.hidden_size}});
  all.push_back({"input_layernorm.weight", {layer.hidden_size}});
  add_layer_tensors(all, layer, "", layer.hidden_size);
  return all;
}

PredictionHead PredictionHead::made_of(const formats::ModelConfig& layer, const HeadTensors& tensors,
                                       const std::string& name, std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const NamedTensors named(tensors, tensors_of(layer), name, kWhat, *target);
  TransformerWeights weights;
  weights.layers.push_back(layer_weights(named, layer, ""));
  weights.final_norm = named.norm("shared_head.norm", layer.norm_eps);
  weights.embedding = at::empty({1, layer.hidden_size}, named.options());  // rows come in fused: never read
  PredictionHead out;
  out.token_norm_ = named.norm("enorm", layer.norm_eps);
  out.state_norm_ = named.norm("hnorm", layer.norm_eps);
  out.fuse_ = named.linear({"eh_proj"});
  out.layer_ = std::make_shared<Transformer>(layer, std::move(weights));
  out.target_ = std::move(target);
  return out;
}

PredictionHead PredictionHead::random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target) {
  const formats::ModelConfig config = layer_config_for(target->config());
  HeadTensors tensors = random_tensors(tensors_of(config), seed, 0.3F);
  // The residual stream starts as the newest token's embedding, as the target's does.
  tensors.at("eh_proj.weight").narrow(1, 0, config.hidden_size).diagonal().add_(1);
  return made_of(config, tensors, "a random layer", std::move(target));
}

PredictionHead PredictionHead::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const formats::ModelConfig model = formats::load_model_config(folder);
  if (model.hidden_size != target->config().hidden_size || model.vocab_size != target->config().vocab_size)
    fail("{}: its hidden size is {} and its vocabulary {}, the target's are {} and {}", folder.string(),
         model.hidden_size, model.vocab_size, target->config().hidden_size, target->config().vocab_size);
  const formats::Checkpoint checkpoint = formats::Checkpoint::open(folder);
  const StoredLayer layer(checkpoint, model);
  const formats::ModelConfig config = one_layer(model, layer);
  HeadTensors tensors;
  for (const std::string& name : layer.fusing())
    tensors[name.substr(layer.stem().size())] =
        tensor_of(checkpoint.tensors().at(name), fmt::format("{}: '{}'", checkpoint.name(), name));
  for (const HeadTensor& tensor : fusing_tensors(config.hidden_size))
    if (!tensors.contains(tensor.name))
      fail("{}: tensor '{}{}' is missing", checkpoint.name(), layer.stem(), tensor.name);
  check_names(checkpoint, config, layer);
  const at::TensorOptions options = target_options(*target);
  const NamedTensors named(tensors, fusing_tensors(config.hidden_size), checkpoint.name(), kWhat, *target);
  PredictionHead out;
  out.token_norm_ = named.norm("enorm", config.norm_eps);
  out.state_norm_ = named.norm("hnorm", config.norm_eps);
  out.fuse_ = named.linear({"eh_proj"});
  out.layer_ = load_model_of(
      std::make_shared<const formats::Checkpoint>(formats::Checkpoint::open(folder).renamed(layer.new_names())), config,
      {.dtype = c10::typeMetaToScalarType(options.dtype()), .device = options.device()});
  out.own_embedding_ = layer.own_embedding;
  out.own_head_ = layer.own_head;
  out.target_ = std::move(target);
  return out;
}

at::Tensor PredictionHead::fuse(TokenSpan tokens, const at::Tensor& features) const {
  const c10::InferenceMode inference;
  const at::Tensor embedded = own_embedding_ ? static_cast<const LanguageModel&>(*layer_).parts()->embed(tokens)
                                             : target_->parts()->embed(tokens);
  return fuse_.forward(
      at::cat({token_norm_.forward(embedded), state_norm_.forward(features.to(embedded.options()))}, 1));
}

at::Tensor PredictionHead::forward(std::span<const ForwardItem> batch) const {
  ForwardOptions options;
  options.aux_states = {1};  // before the norm
  return layer_->forward(batch, options).aux_states.front();
}

at::Tensor PredictionHead::logits(const at::Tensor& features) const {
  const ModelParts& own = *static_cast<const LanguageModel&>(*layer_).parts();
  const at::Tensor normed = own.final_norm(features);
  return own_head_ ? own.head().logits(normed) : target_->parts()->head().logits(normed);
}

}  // namespace foretell::model::heads
