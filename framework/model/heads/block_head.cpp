#include "framework/model/heads/block_head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "framework/core/error.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/io/mapped_file.h"
#include "framework/model/batch_plan.h"
#include "framework/model/rope.h"

namespace foretell::model::heads {
namespace {

std::string block_layer(int layer) { return fmt::format("layers.{}.", layer); }

std::int64_t markov_inputs(const BlockConfig& config) {
  const std::int64_t rank = config.markov_rank, hidden = config.layers.hidden_size;
  return config.markov == MarkovKind::Rnn ? 2 * rank + hidden : hidden + rank;
}

int outputs_of(const BlockConfig& config) {
  return config.draft_vocab > 0 ? config.draft_vocab : config.layers.vocab_rows();
}

bool is_read_apart(std::string_view name) {
  return is_rotary_buffer(name) || formats::heads::is_vocabulary_tensor(name);
}

// out_t = sum over o of kernels_t[o] * in_{t - o}, nothing before the first slot of a block. rows [slots, hidden],
// kernels [slots, kernel, hidden].
at::Tensor convolved(const at::Tensor& rows, const at::Tensor& kernels, std::span<const BlockItem> batch) {
  at::Tensor out = rows * kernels.select(1, 0);
  for (std::int64_t offset = 1; offset < kernels.size(1); ++offset) {
    std::int64_t first = 0;
    for (const BlockItem& item : batch) {
      const std::int64_t count = item.slots - offset;
      if (count > 0)
        out.narrow(0, first + offset, count)
            .add_(rows.narrow(0, first, count) * kernels.select(1, offset).narrow(0, first + offset, count));
      first += item.slots;
    }
  }
  return out;
}

}  // namespace

std::vector<HeadTensor> block_tensors(const BlockConfig& config, const formats::ModelConfig& target) {
  const std::int64_t hidden = config.layers.hidden_size, rank = config.markov_rank;
  const bool alone = hidden != target.hidden_size;  // it cannot share what is as wide as the target
  const std::int64_t outputs = outputs_of(config);
  std::vector<HeadTensor> all = {{"fc.weight", {hidden, config.target_width(target)}},
                                 {"hidden_norm.weight", {hidden}},
                                 {"norm.weight", {hidden}},
                                 {"embed_tokens.weight", {config.layers.vocab_rows(), hidden}, alone},
                                 {"lm_head.weight", {outputs, hidden}, alone || config.own_vocab}};
  for (int layer = 0; layer < config.layers.num_layers; ++layer) {
    all.push_back({block_layer(layer) + "input_layernorm.weight", {hidden}});
    add_layer_tensors(all, config.layers, block_layer(layer), hidden);
    if (config.conv_group == 0) continue;
    for (const char* conv : {"attention_conv", "mlp_conv"}) {
      const std::string stem = block_layer(layer) + conv;
      all.push_back({stem + ".base_kernel", {2, config.conv_kernel, hidden}});
      all.push_back(
          {stem + ".kernel_projection.weight", {2 * config.conv_kernel * (hidden / config.conv_group), hidden}});
    }
  }
  if (config.selector_rank > 0) {
    all.push_back({"candidate_selector.hidden_projection.weight", {config.selector_rank, hidden}});
    for (const char* book : {"predecessor_codebook", "successor_codebook"})
      all.push_back({fmt::format("candidate_selector.{}", book), {target.vocab_rows(), config.selector_rank}});
  }
  if (config.markov != MarkovKind::None) {
    all.push_back({"markov_head.markov_w1.weight", {target.vocab_rows(), rank}});
    all.push_back({"markov_head.markov_w2.weight", {outputs, rank}});
    const bool gated = config.markov == MarkovKind::Gated, rnn = config.markov == MarkovKind::Rnn;
    if (gated || rnn) {
      const std::string stem = gated ? "markov_head.gate_proj" : "markov_head.joint_proj";
      const std::int64_t rows = gated ? rank : 3 * rank;
      all.push_back({stem + ".weight", {rows, markov_inputs(config)}});
      all.push_back({stem + ".bias", {rows}, false});
    }
  }
  if (config.confidence) {
    all.push_back({"confidence_head.proj.weight", {1, hidden + (config.confidence_reads_markov ? rank : 0)}});
    all.push_back({"confidence_head.proj.bias", {1}, false});
  }
  return all;
}

std::filesystem::path BlockHead::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

BlockHead BlockHead::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  const std::filesystem::path given = folder / "config.json";
  const BlockConfig config = parse_block_config(io::MappedFile::open(given).text(), given.string(), target->config());
  file_of(folder);
  const HeadFile file = HeadFile::open(folder);
  Tokens ids;
  if (file.tensors().contains("lm_head.weight"))
    ids =
        formats::heads::draft_vocabulary(file.tensors(), outputs_of(config), target->config().vocab_size, file.name());
  return made_of(config, file.load(is_read_apart), std::move(ids), file.name(), std::move(target));
}

HeadTensors random_block_tensors(const BlockConfig& config, std::uint64_t seed, const formats::ModelConfig& target) {
  HeadTensors tensors = random_tensors(block_tensors(config, target), seed, 1.0F);
  // Convolutions start as nothing, as they are initialised for training, but not quite.
  for (auto& [name, value] : tensors)
    if (name.ends_with(".base_kernel")) {
      value.mul_(0.1);
      value.select(1, 0).fill_(1);
    }
  return tensors;
}

BlockHead BlockHead::random(const BlockConfig& config, std::uint64_t seed,
                            std::shared_ptr<const LanguageModel> target) {
  const HeadTensors tensors = random_block_tensors(config, seed, target->config());
  return made_of(config, tensors, {}, "a random head", std::move(target));
}

BlockHead BlockHead::made_of(const BlockConfig& config, const HeadTensors& tensors, Tokens ids, const std::string& name,
                             std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  BlockHead out;
  out.config_ = config;
  out.options_ = target_options(*target);
  const NamedTensors named(tensors, block_tensors(config, target->config()), name, "a block head", *target);
  const formats::ModelConfig& own = config.layers;
  out.fc_ = named.linear({"fc"});
  out.hidden_norm_ = named.norm("hidden_norm", own.norm_eps);
  out.norm_ = named.norm("norm", own.norm_eps);
  for (int i = 0; i < own.num_layers; ++i) {
    LayerWeights weights = layer_weights(named, own, block_layer(i));
    const Norm attention_norm = weights.attention_norm, mlp_norm = weights.mlp_norm;
    const Linear up = weights.up, down = weights.down;
    Layer& layer =
        out.layers_.emplace_back(Layer{DecoderLayer(own, i, std::move(weights)), attention_norm, mlp_norm, up, down});
    if (config.conv_group == 0) continue;
    const auto convolution = [&](const char* part) {
      const std::string stem = block_layer(i) + part;
      return Convolution{named.get(stem + ".base_kernel"), named.linear({stem + ".kernel_projection"}),
                         config.conv_group};
    };
    layer.attention_conv = convolution("attention_conv");
    layer.mlp_conv = convolution("mlp_conv");
  }
  out.embedding_ = named.get("embed_tokens.weight");
  if (!out.embedding_.defined() && config.mask >= target->config().vocab_size)
    fail("{}: the mask token is {}, the target, whose embeddings are used, has ids 0 to {}", name, config.mask,
         target->config().vocab_size - 1);
  if (out.embedding_.defined() && config.mask >= out.embedding_.size(0))
    fail("{}: the mask token is {}, 'embed_tokens.weight' has {} rows", name, config.mask, out.embedding_.size(0));
  if (named.has("lm_head.weight")) {
    out.ids_ = std::move(ids);
    const Linear matrix = named.linear({"lm_head"});
    const auto rows = static_cast<int>(matrix.outputs());
    if (out.ids_.empty() && rows < target->config().vocab_size)
      fail("{}: 'lm_head.weight' has {} tokens, the target {}, and there is no 'd2t' that says which", name, rows,
           target->config().vocab_size);
    out.head_ = LinearHead(matrix, out.ids_.empty() ? target->config().vocab_size : rows);
  }
  if (config.selector_rank > 0)
    out.selector_ = Selector{named.linear({"candidate_selector.hidden_projection"}),
                             named.get("candidate_selector.predecessor_codebook").to(at::kFloat),
                             named.get("candidate_selector.successor_codebook").to(at::kFloat)};
  out.take_markov(named);
  out.frequencies_ = rope_frequencies(own);
  out.magnitude_ = rope_magnitude(own.rope);
  out.target_ = std::move(target);
  return out;
}

void BlockHead::take_markov(const NamedTensors& named) {
  if (config_.markov != MarkovKind::None) {
    markov_tokens_ = named.get("markov_head.markov_w1.weight");
    markov_bias_ = named.linear({"markov_head.markov_w2"});
  }
  if (config_.markov == MarkovKind::Gated) markov_gate_ = named.linear({"markov_head.gate_proj"});
  if (config_.markov == MarkovKind::Rnn) markov_gate_ = named.linear({"markov_head.joint_proj"});
  if (config_.confidence) confidence_ = named.linear({"confidence_head.proj"});
}

std::unique_ptr<KvCache> BlockHead::make_cache(int capacity) const {
  const c10::InferenceMode inference;
  const formats::ModelConfig& own = config_.layers;
  return std::make_unique<TransformerCache>(own.num_layers, own.num_kv_heads, capacity, own.head_dim, options_);
}

at::Tensor BlockHead::context(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  return hidden_norm_.forward(fc_.forward(states.to(options_)));
}

void BlockHead::store(std::span<const ContextItem> batch) const {
  const c10::InferenceMode inference;
  std::vector<ForwardItem> items;
  std::vector<at::Tensor> rows;
  for (const ContextItem& item : batch) {
    items.push_back({item.rows, ChainShape{}, item.cache, LogitRows::None});
    rows.push_back(item.rows);
  }
  const LayerRange layers{0, config_.layers.num_layers};
  const BatchPlan plan =
      plan_batch(items, {layers, context_length(), frequencies_, magnitude_, options_, config_.layers.sliding_window});
  const at::Tensor all = at::cat(rows);
  for (int layer = 0; layer < layers.last; ++layer)
    layers_[static_cast<std::size_t>(layer)].attention.store_normed(all, plan, layer);
  for (const ItemPlan& item : plan.items) item.cache->grow(layers, item.rows);
}

at::Tensor BlockHead::embed(TokenSpan tokens) const { return embed_tokens(embedding_, *target_, tokens); }

at::Tensor BlockHead::Convolution::kernels(const at::Tensor& rows) const {
  const std::int64_t kernel = base.size(1), hidden = base.size(2);
  return projection.forward(rows).view({rows.size(0), 2, kernel, hidden / group}).repeat_interleave(group, 3) + base;
}

at::Tensor BlockHead::forward(std::span<const BlockItem> batch) const {
  const c10::InferenceMode inference;
  Tokens tokens;
  std::vector<ForwardItem> items, causal;
  const bool any_causal = std::ranges::count(config_.causal, 1) > 0;
  const LayerRange layers{0, config_.layers.num_layers};
  for (const BlockItem& item : batch) {
    const auto start = static_cast<int>(item.cache->length());
    std::vector<int> positions;
    for (int slot = 0; slot < item.slots; ++slot) {
      tokens.push_back(slot == 0 ? item.root : config_.mask);
      positions.push_back(start + slot);
    }
    const at::Tensor seen = at::ones({item.slots, item.slots}, at::kBool);
    const at::Tensor rows = at::zeros({item.slots, 1}, options_);  // plans count them
    items.push_back({rows, MaskedShape{positions, seen}, item.cache, LogitRows::None});
    causal.push_back({rows, MaskedShape{positions, seen.tril()}, item.cache, LogitRows::None});
  }
  const PlanContext context{layers,     context_length(), frequencies_,
                            magnitude_, options_,         config_.layers.sliding_window};
  const BatchPlan both_ways = plan_batch(items, context);
  const BatchPlan one_way = any_causal ? plan_batch(causal, context) : both_ways;
  at::Tensor x = embed(tokens);
  if (config_.input_scale != 1) x = x * config_.input_scale;
  for (int i = 0; i < layers.last; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    const BatchPlan& plan = config_.causal[static_cast<std::size_t>(i)] ? one_way : both_ways;
    const auto run = [&](const Norm& norm, const std::optional<Convolution>& conv, const auto& sublayer) {
      at::Tensor rows = norm.forward(x), kernels;
      if (conv) {
        kernels = conv->kernels(rows);
        rows = convolved(rows, kernels.select(1, 0), batch);
      }
      at::Tensor out = sublayer(rows);
      if (conv) out = convolved(out, kernels.select(1, 1), batch);
      x = x + out;
    };
    run(layer.attention_norm, layer.attention_conv, [&](const at::Tensor& rows) {
      at::Tensor out = at::zeros_like(x);
      layer.attention.attention(out, rows, plan, i);
      return out;
    });
    run(layer.mlp_norm, layer.mlp_conv, [&](const at::Tensor& rows) {
      return mlp_rows(rows, layer.up, layer.down, config_.layers.activation, config_.layers.gated_mlp);
    });
  }
  return norm_.forward(x);
}

at::Tensor BlockHead::logits(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  at::Tensor out = head_ ? head_->logits(states) : target_->parts()->head().logits(states);
  if (config_.output_multiplier != 1) out = out * config_.output_multiplier;
  if (config_.softcap) out = (out / *config_.softcap).tanh() * *config_.softcap;
  return out;
}

at::Tensor BlockHead::previous(Token token) const { return markov_tokens_.narrow(0, token, 1); }

at::Tensor BlockHead::markov_state(TokenSpan before, const at::Tensor& states) const {
  const std::int64_t rank = config_.markov_rank;
  if (config_.markov == MarkovKind::Vanilla) return previous(before.back());
  if (config_.markov == MarkovKind::Gated) {
    const at::Tensor token = previous(before.back());
    return markov_gate_.forward(at::cat({states.narrow(0, states.size(0) - 1, 1), token}, 1)).sigmoid() * token;
  }
  at::Tensor state = at::zeros({1, rank}, options_), out;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const at::Tensor joint = markov_gate_.forward(
        at::cat({state, previous(before[i]), states.narrow(0, static_cast<std::int64_t>(i), 1)}, 1));
    const at::Tensor gate = joint.narrow(1, 0, rank).sigmoid();
    state = gate * state + (1 - gate) * joint.narrow(1, rank, rank).tanh();
    out = joint.narrow(1, 2 * rank, rank).tanh();
  }
  return out;
}

at::Tensor BlockHead::corrected(const at::Tensor& base, TokenSpan before, const at::Tensor& states) const {
  const c10::InferenceMode inference;
  at::Tensor out = base;
  if (config_.markov != MarkovKind::None) {
    const at::Tensor bias = markov_bias_.forward_wide(markov_state(before, states))[0];
    out = out + bias.narrow(0, 0, out.size(0));
  }
  if (!selector_) return out;
  const auto [value, candidate] = out.topk(std::min<std::int64_t>(config_.selector_top_k, out.size(0)));
  const at::Tensor hidden = selector_->projection.forward(states.narrow(0, states.size(0) - 1, 1))[0].to(at::kFloat);
  const at::Tensor pair = (selector_->predecessors[before.back()] * hidden)
                              .unsqueeze(0)
                              .mul(selector_->successors.index_select(0, candidate))
                              .sum(1);
  at::Tensor chosen = at::full_like(out, -std::numeric_limits<float>::infinity());
  chosen.index_copy_(0, candidate, value + pair);
  return chosen;
}

double BlockHead::confidence(TokenSpan before, const at::Tensor& states) const {
  const c10::InferenceMode inference;
  if (!confidence_) return 1;
  at::Tensor read = states.narrow(0, states.size(0) - 1, 1);
  if (config_.confidence_reads_markov) read = at::cat({read, previous(before.back())}, 1);
  return confidence_->forward_wide(read).sigmoid().item<double>();
}

}  // namespace foretell::model::heads
