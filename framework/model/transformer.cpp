#include "framework/model/transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"
#include "framework/model/forward_probe.h"
#include "framework/model/rope.h"
#include "framework/model/transformer_cache.h"

namespace foretell::model {
namespace {

void check_options(const ForwardOptions& options, LayerRange layers, int num_layers) {
  FORETELL_CHECK(layers.first >= 0 && layers.first < layers.last && layers.last <= num_layers, "layers [{}, {}) of {}",
                 layers.first, layers.last, num_layers);
  if (options.computed) {
    FORETELL_CHECK(options.computed->num_layers() == num_layers, "a layer set for {} layers, the model has {}",
                   options.computed->num_layers(), num_layers);
  }
  for (const int aux_layer : options.aux_states) {
    FORETELL_CHECK(aux_layer >= layers.first && aux_layer <= layers.last, "hidden state {} of layers [{}, {})",
                   aux_layer, layers.first, layers.last);
  }
}

// The flat rows whose logits are asked for; nothing if that is all of them.
std::optional<std::vector<std::int64_t>> logit_rows(std::span<const ForwardItem> batch, const BatchPlan& plan) {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const ItemPlan& item = plan.items[i];
    if (batch[i].logits == LogitRows::Last && item.rows > 0) rows.push_back(item.offset + item.rows - 1);
    if (batch[i].logits != LogitRows::All) continue;
    for (int row = batch[i].exit.owed; row < item.rows; ++row) rows.push_back(item.offset + row);
  }
  if (static_cast<int>(rows.size()) == plan.rows) return std::nullopt;
  return rows;
}

std::vector<RoutedItem> routed_items(const BatchPlan& plan) {
  std::vector<RoutedItem> out;
  for (const ItemPlan& item : plan.items) out.push_back({item.offset, item.rows, item.scored});
  return out;
}

}  // namespace

Transformer::Transformer(formats::ModelConfig config, TransformerWeights weights, bool int8_cache)
    : config_(std::move(config)),
      embedding_(std::move(weights.embedding)),
      positions_(std::move(weights.positions)),
      final_norm_(std::move(weights.final_norm)),
      head_(std::move(weights.head), config_.vocab_size),
      options_(at::TensorOptions().dtype(embedding_.dtype()).device(embedding_.device())),
      int8_cache_(int8_cache) {
  FORETELL_CHECK(!int8_cache || (device().is_cpu() && dtype() != at::kDouble), "an int8 cache in {} on {}",
                 c10::toString(dtype()), device().str());
  for (int layer = 0; layer < config_.num_layers; ++layer)
    layers_.emplace_back(config_, layer, std::move(weights.layers[layer]));
  if (!positions_.defined()) find_plain();
  if (config_.position != formats::PositionKind::Rope) return;
  frequencies_ = rope_frequencies(config_);
  magnitude_ = rope_magnitude(config_.rope);
}

std::unique_ptr<KvCache> Transformer::make_cache(int capacity) const {
  const c10::InferenceMode inference;
  return std::make_unique<TransformerCache>(config_.num_layers, config_.num_kv_heads, capacity, config_.head_dim,
                                            int8_cache_ ? options_.dtype(at::kChar) : options_, config_.value_dim());
}

std::shared_ptr<const Transformer> Transformer::with_cache(bool int8) const {
  auto copy = std::make_shared<Transformer>(*this);
  copy->int8_cache_ = int8;
  return copy;
}

std::shared_ptr<const LanguageModel> Transformer::quantised(const WeightRounding& to) const {
  const c10::InferenceMode inference;
  if (!device().is_cpu()) return nullptr;
  auto copy = std::make_shared<Transformer>(*this);
  for (DecoderLayer& layer : copy->layers_) layer = layer.rounded(to);
  copy->head_ = head_.rounded();
  if (plain_) copy->find_plain();
  return copy;
}

std::size_t Transformer::weight_bytes_per_forward() const {
  std::size_t bytes = final_norm_.bytes() + head_.bytes();
  for (const DecoderLayer& layer : layers_) bytes += layer.bytes();
  return bytes;
}

std::size_t Transformer::cache_bytes_per_row() const {
  const std::size_t widths = std::size_t{1} * config_.head_dim + config_.value_dim();
  const std::size_t heads = std::size_t{1} * config_.num_layers * config_.num_kv_heads;
  return int8_cache_ ? heads * (widths + 2 * sizeof(float)) : heads * widths * options_.dtype().itemsize();
}

void Transformer::check_tokens(TokenSpan tokens) const {
  for (const Token token : tokens)
    if (token < 0 || token >= config_.vocab_size)
      fail("token id {} is outside of the model's vocabulary of {} (ids 0 to {})", token, config_.vocab_size,
           config_.vocab_size - 1);
}

at::Tensor Transformer::embed(TokenSpan tokens, std::span<const int> positions) const {
  const c10::InferenceMode inference;
  at::Tensor ids = at::empty({static_cast<std::int64_t>(tokens.size())}, at::kLong);
  std::int64_t* values = ids.mutable_data_ptr<std::int64_t>();
  check_tokens(tokens);
  std::ranges::copy(tokens, values);
  at::Tensor x = embedding_.index_select(0, ids.to(device()));
  if (!positions_.defined() || positions.empty()) return x;
  std::copy(positions.begin(), positions.end(), values);
  return x.add_(positions_.index_select(0, ids.to(device())));
}

at::Tensor Transformer::final_norm(const at::Tensor& state) const {
  const c10::InferenceMode inference;
  return final_norm_.forward(state);
}

at::Tensor Transformer::enter(std::span<const ForwardItem> batch, const BatchPlan& plan, LayerRange layers) const {
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const ItemPlan& item = plan.items[i];
    if (const auto* tokens = std::get_if<TokenSpan>(&batch[i].input)) {
      FORETELL_CHECK(layers.first == 0, "tokens enter layer {}", layers.first);
      parts.push_back(embed(*tokens, std::span(plan.positions).subspan(item.offset, item.rows)));
      continue;
    }
    const at::Tensor& state = std::get<at::Tensor>(batch[i].input);
    FORETELL_CHECK(state.dim() == 2 && state.size(1) == config_.hidden_size,
                   "an input of {} dimensions and width {}, hidden size {}", state.dim(), state.size(-1),
                   config_.hidden_size);
    parts.push_back(state.to(options_, false, batch.size() == 1));  // a copy: layers change it in place
    if (batch[i].enters.empty() || item.resumed == item.rows) continue;
    FORETELL_CHECK(layers.first == 0, "tokens enter layer {}", layers.first);
    parts.push_back(embed(batch[i].tokens.subspan(static_cast<std::size_t>(item.resumed)),
                          std::span(plan.positions).subspan(item.offset + item.resumed, item.rows - item.resumed)));
  }
  at::Tensor x = parts.size() == 1 ? parts[0] : at::cat(parts);
  return x.contiguous();
}

void Transformer::count_work(LayerRows& rows, int layer, const std::vector<int>& experts, const RowExits& exits,
                             ForwardResult& result) const {
  const BatchPlan& plan = rows.plan();
  const std::vector<int> numbers = exits.working(layer);
  for (const ItemPlan& item : plan.items) {
    const kernels::attention::AttentionMask& seen =
        item.windowed && config_.is_windowed(layer) ? *item.windowed : item.seen;
    for (int row = 0; row < item.rows; ++row) {
      const auto at = static_cast<std::size_t>(item.offset) + static_cast<std::size_t>(row);
      RowWork& work = result.work[static_cast<std::size_t>(numbers[at])];
      ++work.layers;
      if (!experts.empty()) work.experts += experts[at];
      work.attended += seen.count(row) - std::ranges::count_if(item.cache->hidden(layer), [&](int column) {
                         return seen.all || seen.sees(row, column);
                       });
    }
  }
}

void Transformer::run_layer(LayerRows& rows, int layer, const ForwardOptions& options, const RowExits& exits,
                            ForwardResult& result) const {
  const BatchPlan& plan = rows.plan();
  const std::vector<RoutedItem> items = options.router ? routed_items(plan) : std::vector<RoutedItem>{};
  ExpertContext experts{options.router, plan.positions, plan.tokens, plan.parents, items};
  experts.probe = options.probe;
  std::vector<int> sent;
  if (options.count_work) experts.by_row = &sent;
  if (rows.empty() || plan.rows == 0) return;
  const bool attention = !options.computed || options.computed->attention(layer);
  const bool mlp = !options.computed || options.computed->mlp(layer);
  if (options.trace_experts && mlp && config_.is_sparse(layer)) {
    experts.routed = &result.routed.emplace_back(RoutedLayer{.layer = layer});
    if (!exits.trivial()) experts.routed->rows = exits.working(layer);
  }
  if (attention && mlp) {
    layers_[layer].forward(rows.state(), rows.plan(), layer, experts);
  } else if (attention) {
    layers_[layer].attention(rows.state(), rows.plan(), layer);
  } else if (mlp) {
    layers_[layer].mlp(rows.state(), experts);
  }
  if (options.count_work) count_work(rows, layer, sent, exits, result);
}

void Transformer::run_layers(at::Tensor& x, const BatchPlan& plan, const ForwardOptions& options, RowExits& exits,
                             ForwardResult& result) const {
  const LayerRange layers = result.layers;
  LayerRows working(x, plan), gone(x, plan);
  result.aux_states.resize(options.aux_states.size());
  const auto aux_layer = [&](int level) {
    for (std::size_t i = 0; i < options.aux_states.size(); ++i) {
      if (options.aux_states[i] != level) continue;
      working.join();
      result.aux_states[i] = x.clone();
    }
  };
  aux_layer(layers.first);
  for (int layer = layers.first; layer < layers.last; ++layer) {
    if (!exits.trivial()) {
      working.choose(exits.working(layer));
      gone.choose(exits.stored(layer));
      if (!gone.empty()) layers_[layer].store(gone.state(), gone.plan(), layer);
    }
    run_layer(working, layer, options, exits, result);
    aux_layer(layer + 1);
    if (exits.decides(layer + 1)) {
      working.join();
      exits.decide(layer + 1, x, *this);
    }
  }
  working.join();
  for (const ItemPlan& item : plan.items) item.cache->grow(layers, item.rows - item.resumed);
}

at::Tensor Transformer::answers(const at::Tensor& normed, const std::vector<std::int64_t>& rows,
                                const RowExits& exits) const {
  std::vector<std::int64_t> late, places;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (exits.logits(static_cast<int>(rows[i])).defined()) continue;
    late.push_back(rows[i]);
    places.push_back(static_cast<std::int64_t>(i));
  }
  const auto index = [this](const std::vector<std::int64_t>& of) { return at::tensor(of, at::kLong).to(device()); };
  const auto of_late = [&] { return head_.logits(normed.index_select(0, index(late))); };
  if (late.size() == rows.size()) return of_late();
  at::Tensor out = at::empty({static_cast<std::int64_t>(rows.size()), config_.vocab_size},
                             at::TensorOptions().dtype(at::kFloat).device(device()));
  if (!late.empty()) out.index_copy_(0, index(places), of_late());
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (const at::Tensor& known = exits.logits(static_cast<int>(rows[i])); known.defined())
      out.select(0, static_cast<std::int64_t>(i)).copy_(known);
  return out;
}

void Transformer::leave(const at::Tensor& x, std::span<const ForwardItem> batch, const BatchPlan& plan,
                        const ForwardOptions& options, const RowExits& exits, ForwardResult& result) const {
  if (options.return_last_state) result.last_state = x;
  const at::Tensor state = exits.answering(x);
  if (options.return_final_state) result.final_state = plan.rows > 0 ? final_norm_.forward(state) : state;
  auto rows = logit_rows(batch, plan);
  if (plan.rows == 0 || (rows && rows->empty())) return;
  if (options.exits && !exits.trivial()) {
    if (!rows) {
      rows.emplace(static_cast<std::size_t>(plan.rows));
      std::iota(rows->begin(), rows->end(), 0);
    }
    result.logits = answers(options.return_final_state ? result.final_state : final_norm_.forward(state), *rows, exits);
    return;
  }
  at::Tensor asked = options.return_final_state ? result.final_state : state;
  if (rows) asked = asked.index_select(0, at::tensor(*rows, at::kLong).to(device()));
  mark(options.probe, ForwardProbe::Part::Rest);
  if (!options.return_final_state) asked = final_norm_.forward(asked);
  mark(options.probe, ForwardProbe::Part::Norm);
  result.logits = head_.logits(asked);
  mark(options.probe, ForwardProbe::Part::Head);
}

ForwardResult Transformer::forward_plain(std::span<const ForwardItem> batch, const BatchPlan& plan,
                                         LayerRange layers) const {
  for (const ForwardItem& item : batch) check_tokens(std::get<TokenSpan>(item.input));
  ForwardResult result;
  result.layers = layers;
  result.logits = plain_->run(batch, plan, layers, logit_rows(batch, plan));
  const auto rows = static_cast<std::size_t>(plan.rows);
  result.left.assign(rows, layers.last);
  result.reached = result.left;
  result.probes.assign(rows, 0);
  for (const ItemPlan& item : plan.items) item.cache->grow(layers, item.rows);
  return result;
}

ForwardResult Transformer::forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const {
  const c10::InferenceMode inference;
  FORETELL_CHECK(!batch.empty(), "a forward of no item");
  const LayerRange layers = options.layers.value_or(LayerRange{0, config_.num_layers});
  check_options(options, layers, config_.num_layers);
  BatchPlan plan = plan_batch(batch, {layers, config_.context, frequencies_, magnitude_, options_,
                                      config_.sliding_window, options.router != nullptr});
  // Operators are timed one after the other, not in one parallel region.
  if (!options.probe && plain_ && plain_->takes(batch, plan, options, layers))
    return forward_plain(batch, plan, layers);
  plan.probe = options.probe;
  mark(options.probe, ForwardProbe::Part::Rest);
  at::Tensor x = enter(batch, plan, layers);
  mark(options.probe, ForwardProbe::Part::Embedding);
  ForwardResult result;
  result.layers = layers;
  result.own_rules = own_rules(batch, options);
  RowExits exits(batch, plan, options, layers, config_.num_layers);
  if (options.count_work) result.work.resize(static_cast<std::size_t>(plan.rows));
  run_layers(x, plan, options, exits, result);
  exits.report(result);
  leave(x, batch, plan, options, exits, result);
  return result;
}

}  // namespace foretell::model
