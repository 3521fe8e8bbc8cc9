#include "framework/model/heads/hydra_heads.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::model::heads {
namespace {

constexpr const char* kHydraFile = "hydra_lm_head.safetensors";
constexpr std::string_view kMlp = "hydra_mlp.", kPrefixLayer = "prefix_embeding_layer.";
constexpr int kMostHydraHeads = 64, kMostHydraBlocks = 64;

std::string block_stem(int head, int block) { return fmt::format("hydra_mlp.{}.{}.", head, 2 * block + 1); }
std::string output_stem(int head) { return fmt::format("hydra_lm_head.{}.1", head); }

// The embedding beside the layer is never read: rows come in as states.
bool is_unread(std::string_view name) {
  return is_rotary_buffer(name) || name == "prefix_embeding_layer.embed_tokens.weight";
}

// "hydra_mlp.3.5.linear.weight": the numbers. The first block stands at 1, behind a dropout, and so on.
HydraShape hydra_shape(const HeadTensors& tensors, const std::string& name) {
  HydraShape shape{0, 0, false};
  for (const auto& entry : tensors) {
    std::string_view rest = entry.first;
    if (rest.starts_with(kPrefixLayer)) shape.prefix = true;
    if (!rest.starts_with(kMlp)) continue;
    rest.remove_prefix(kMlp.size());
    int numbers[2] = {-1, -1};
    for (int& number : numbers) {
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
      if (error != std::errc() || end == rest.data() + rest.size() || *end != '.') number = -1;
      rest.remove_prefix(std::min(rest.size(), static_cast<std::size_t>(end - rest.data()) + 1));
    }
    const bool known = numbers[0] >= 0 && numbers[0] < kMostHydraHeads && numbers[1] > 0 && numbers[1] % 2 == 1 &&
                       numbers[1] / 2 < kMostHydraBlocks;
    if (!known)
      fail(
          "{}: '{}' is no tensor of a Hydra head: expected hydra_mlp.{{head}}.{{1, 3, ...}}, at most {} heads of {} "
          "blocks",
          name, printable(entry.first), kMostHydraHeads, kMostHydraBlocks);
    shape.heads = std::max(shape.heads, numbers[0] + 1);
    shape.blocks = std::max(shape.blocks, numbers[1] / 2 + 1);
  }
  if (shape.heads == 0) fail("{}: there is no tensor of a Hydra head, as 'hydra_mlp.0.1.linear.weight'", name);
  if (!tensors.contains("hydra_mlp.0.1.res_connection.weight"))
    fail(
        "{}: tensor 'hydra_mlp.0.1.res_connection.weight' is missing: heads that do not see the tokens before them "
        "(grounded_heads: false) are not read",
        name);
  return shape;
}

std::shared_ptr<const Transformer> prefix_layers(const NamedTensors& named, const formats::ModelConfig& target) {
  const formats::ModelConfig config = layer_config_for(target);
  TransformerWeights weights;
  weights.layers.push_back(layer_weights(named, config, "prefix_embeding_layer.layers.0."));
  weights.final_norm = named.norm("prefix_embeding_layer.norm", config.norm_eps);
  weights.embedding = at::empty({1, config.hidden_size}, named.options());  // rows come in as states: never read
  return std::make_shared<Transformer>(config, std::move(weights));
}

}  // namespace

std::vector<HeadTensor> HydraHeads::tensors_of(const HydraShape& shape, const formats::ModelConfig& target) {
  const std::int64_t hidden = target.hidden_size;
  std::vector<HeadTensor> all;
  const auto add = [&](const std::string& stem, std::int64_t outputs, std::int64_t inputs) {
    all.push_back({stem + ".weight", {outputs, inputs}});
    all.push_back({stem + ".bias", {outputs}});
  };
  for (int head = 0; head < shape.heads; ++head) {
    const std::int64_t read = (head + 2) * hidden;
    add(block_stem(head, 0) + "res_connection", hidden, read);
    for (int block = 0; block < shape.blocks; ++block)
      add(block_stem(head, block) + "linear", hidden, block == 0 ? read : hidden);
    add(output_stem(head), target.vocab_size, hidden);
  }
  if (!shape.prefix) return all;
  all.push_back({"prefix_embeding_layer.norm.weight", {hidden}});
  all.push_back({"prefix_embeding_layer.layers.0.input_layernorm.weight", {hidden}});
  add_layer_tensors(all, layer_config_for(target), "prefix_embeding_layer.layers.0.", hidden);
  return all;
}

std::filesystem::path HydraHeads::file_of(const std::filesystem::path& path) {
  return head_file(path, {kHydraFile, "model.safetensors"}, "hydra_lm_head.pt");
}

HydraHeads HydraHeads::load(const std::filesystem::path& path, std::shared_ptr<const LanguageModel> target) {
  const HeadFile file = HeadFile::open(file_of(path));
  const HeadTensors tensors = file.load(is_unread);
  return made_of(hydra_shape(tensors, file.name()), tensors, file.name(), std::move(target));
}

// The newest token's embedding goes through to the target's own output, as in its first layer, so that a target with
// random weights agrees with it now and then; the rest is noise.
HydraHeads HydraHeads::random(const HydraShape& shape, std::uint64_t seed,
                              std::shared_ptr<const LanguageModel> target) {
  const std::int64_t hidden = target->config().hidden_size;
  HeadTensors tensors = random_tensors(tensors_of(shape, target->config()), seed, 0.5F);
  for (int head = 0; head < shape.heads; ++head) {
    tensors[block_stem(head, 0) + "res_connection.weight"]
        .narrow(1, (head + 1) * hidden, hidden)
        .diagonal()
        .add_(embedding_scale(*target));
    tensors[output_stem(head) + ".weight"] = output_matrix(*target);
  }
  return made_of(shape, tensors, "random heads", std::move(target));
}

HydraHeads HydraHeads::made_of(const HydraShape& shape, const HeadTensors& tensors, const std::string& name,
                               std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const formats::ModelConfig& config = target->config();
  const NamedTensors named(tensors, tensors_of(shape, config), name, "a Hydra head", *target);
  HydraHeads out;
  for (int head = 0; head < shape.heads; ++head) {
    Head& made = out.heads_.emplace_back();
    made.residual = named.linear({block_stem(head, 0) + "res_connection"});
    made.first = named.linear({block_stem(head, 0) + "linear"});
    for (int block = 1; block < shape.blocks; ++block)
      made.blocks.push_back(named.linear({block_stem(head, block) + "linear"}));
    made.output = LinearHead(named.linear({output_stem(head)}), config.vocab_size);
  }
  if (shape.prefix) out.prefix_ = prefix_layers(named, config);
  out.target_ = std::move(target);
  return out;
}

PathStep HydraHeads::step(int number, const at::Tensor& path, TokenSpan tokens) const {
  const c10::InferenceMode inference;
  const Head& head = heads_.at(static_cast<std::size_t>(number));
  const at::Tensor embedded = target_->parts()->embed(tokens);
  const at::Tensor read = at::cat({path.to(embedded.options()), embedded}, 1);
  at::Tensor x = head.residual.forward(read).add_(mlp_inside(read, head.first, Activation::Silu, false));
  for (const Linear& block : head.blocks) x = x.add(mlp_inside(x, block, Activation::Silu, false));
  return {read, head.output.logits(x)};
}

}  // namespace foretell::model::heads
