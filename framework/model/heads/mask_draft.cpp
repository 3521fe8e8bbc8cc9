#include "framework/model/heads/mask_draft.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/io/json.h"
#include "framework/io/mapped_file.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {
namespace {

constexpr const char* kProjectionFile = "pard_warp_model.safetensors";
constexpr const char* kProjectionPickle = "warp_model.bin";
constexpr std::int64_t kMostStates = 1024;

std::vector<HeadTensor> projection_layout(std::int64_t hidden, std::int64_t width, bool biased) {
  std::vector<HeadTensor> all = {{"target_proj.weight", {hidden, width}}};
  if (biased) all.push_back({"target_proj.bias", {hidden}});
  return all;
}

void set_projection(const HeadTensors& tensors, const MaskDraftConfig& config, const std::string& name,
                    const LanguageModel& target, MaskDraft& out) {
  for (const std::int64_t layer : config.layers)
    out.layers.push_back(state_place(layer, target.config().num_layers, name));
  const auto width = static_cast<std::int64_t>(out.layers.size()) * target.config().hidden_size;
  const NamedTensors named(tensors, projection_layout(out.lender->config().hidden_size, width, config.biased), name,
                           "a PARD-2 projection", *out.lender);
  out.projection = named.linear({"target_proj"});
  out.scale = config.scale;
  out.projects = true;
}

}  // namespace

MaskDraftConfig parse_mask_draft_config(std::string_view text, const std::string& name) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  MaskDraftConfig out;
  if (const auto mask = json.integer("pard_token", 0, std::numeric_limits<Token>::max()))
    out.mask = static_cast<Token>(*mask);
  if (const auto type = json.string("spd_type")) {
    if (*type != "pard" && *type != "pard2") json.refuse("spd_type", "is '{}'; known: pard, pard2", *type);
    out.second = *type == "pard2";
  }
  out.scale = json.number("pard2_scale", -1e3, 1e3).value_or(out.scale);
  out.biased = json.boolean("pard2_proj_bias").value_or(false);
  const nlohmann::json* layers = json.find("pard2_target_layers");
  if (layers == nullptr) return out;
  if (!layers->is_array() || layers->empty() || static_cast<std::int64_t>(layers->size()) > kMostStates)
    json.refuse("pard2_target_layers", "is {}: a list of hidden states was expected", io::shown(*layers));
  out.layers.clear();
  for (const nlohmann::json& layer : *layers) {
    if (!layer.is_number_integer() || layer < -1000000 || layer > 1000000)
      json.refuse("pard2_target_layers", "holds {}: a hidden state's number was expected", io::shown(layer));
    out.layers.push_back(layer.get<std::int64_t>());
  }
  return out;
}

MaskDraft load_mask_draft(const std::filesystem::path& folder, const LoadedDraft& loaded, std::optional<Token> mask,
                          const std::shared_ptr<const LanguageModel>& target) {
  const c10::InferenceMode inference;
  const std::filesystem::path file = folder / "config.json";
  MaskDraftConfig config;
  if (std::filesystem::exists(file)) config = parse_mask_draft_config(io::MappedFile::open(file).text(), file.string());
  if (!mask) mask = config.mask;
  if (!mask)
    fail("{}: names no mask token ('pard_token'): it was not trained to draft in parallel; mask_token: ID says which",
         file.string());
  const int vocab = loaded.own->config().vocab_size;
  if (*mask < 0 || *mask >= vocab)
    fail("{}: the mask token is {}, the model has ids 0 to {}", file.string(), *mask, vocab - 1);
  MaskDraft out{loaded.aligned, loaded.own, *mask};
  if (!config.second) return out;
  if (!target || !target->parts() || !loaded.own->parts())
    fail("{}: PARD-2 reads its target's states: it needs models as target and draft", file.string());
  const std::filesystem::path stored = folder / kProjectionFile;
  if (!std::filesystem::exists(stored) && std::filesystem::exists(folder / kProjectionPickle))
    fail(
        "{} is a pickle, which is not read; convert it: python3 -c \"import torch, safetensors.torch as s; "
        "s.save_file({{k: v.clone() for k, v in torch.load('{}', map_location='cpu').items()}}, '{}')\"",
        (folder / kProjectionPickle).string(), kProjectionPickle, kProjectionFile);
  const formats::SafetensorsFile opened = formats::SafetensorsFile::open(stored);
  HeadTensors tensors;
  for (const auto& [name, value] : opened.tensors()) tensors[name] = tensor_of(value, stored.string());
  set_projection(tensors, config, stored.string(), *target, out);
  return out;
}

MaskDraft untrained_mask_draft(const std::shared_ptr<const LanguageModel>& target, bool second, std::uint64_t seed) {
  const c10::InferenceMode inference;
  MaskDraft out{target, target, target->config().vocab_size - 1};
  if (!second) return out;
  const std::int64_t hidden = target->config().hidden_size;
  MaskDraftConfig config;
  config.scale = 0.3;
  const HeadTensors tensors = random_tensors(projection_layout(hidden, hidden, false), seed, 1.0F);
  set_projection(tensors, config, "an untrained projection", *target, out);
  return out;
}

at::Tensor MaskDraft::projected(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  return projection.forward(states.to(target_options(*lender))).mul(scale);
}

at::Tensor MaskDraft::embed(TokenSpan tokens) const {
  Tokens known(tokens.begin(), tokens.end());
  for (Token& token : known)
    if (token >= lender->config().vocab_size) token = 0;  // as an aligned vocabulary reads the target's padding
  return lender->parts()->embed(known);
}

}  // namespace foretell::model::heads
