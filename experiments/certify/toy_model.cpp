#include "experiments/certify/toy_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::certify {
namespace {

constexpr Token kGarbage = -7;  // what a row leaves in the cache of a layer that has no keys and values of it
constexpr std::size_t kSeen = 3;
constexpr std::size_t kMostRemembered = 1 << 14;  // rows of logits

std::uint64_t path_hash(std::uint64_t seed, TokenSpan last) {
  std::uint64_t h = seed;
  for (const Token t : last)
    h = (h ^ (static_cast<std::uint64_t>(static_cast<std::uint32_t>(t)) + 0x9e3779b9ull)) * 0x100000001b3ull;
  return h;
}

class ToyCache final : public model::KvCache {
 public:
  ToyCache(int layers, int capacity) : rows_(static_cast<std::size_t>(layers)), capacity_(capacity) {}
  int num_layers() const override { return static_cast<int>(rows_.size()); }
  int capacity() const override { return capacity_; }
  int length(model::LayerRange layers) const override {
    const std::size_t n = rows_[layers.first].size();
    for (int l = layers.first; l < layers.last; ++l)
      FORETELL_CHECK(rows_[l].size() == n, "layer {} holds {}, not {}", l, rows_[l].size(), n);
    return static_cast<int>(n);
  }
  void truncate(model::LayerRange layers, int length) override {
    for (int l = layers.first; l < layers.last; ++l)
      rows_[l].resize(std::min(rows_[l].size(), static_cast<std::size_t>(length)));
  }
  void keep(model::LayerRange layers, int base, std::span<const int> rows) override {
    for (int l = layers.first; l < layers.last; ++l) {
      Tokens kept(rows_[l].begin(), rows_[l].begin() + base);
      for (const int r : rows)
        kept.push_back(rows_[l].at(static_cast<std::size_t>(base) + static_cast<std::size_t>(r)));
      rows_[l] = std::move(kept);
    }
  }
  void pad(int length) override {
    for (Tokens& rows : rows_) rows.resize(std::max(rows.size(), static_cast<std::size_t>(length)), kGarbage);
  }
  std::size_t bytes() const override { return rows_.size() * static_cast<std::size_t>(capacity_) * sizeof(Token); }

  Tokens& layer(int l) { return rows_[l]; }

 private:
  std::vector<Tokens> rows_;
  int capacity_;
};

// The rows of an item as a tree: row numbers count from the tree's row 0, the parent of which is -1.
struct RowTree {
  std::vector<int> parents, depths;

  RowTree(const model::ForwardItem& item, int rows) {
    const auto* tree = std::get_if<model::TreeShape>(&item.shape);
    FORETELL_CHECK(tree || std::holds_alternative<model::ChainShape>(item.shape), "the toy knows {} shapes", 2);
    const int total = tree ? static_cast<int>(tree->parents.size()) : rows;
    for (int i = 0; i < total; ++i) {
      parents.push_back(i == 0 ? -1 : tree ? tree->parents[i] : i - 1);
      depths.push_back(i == 0 ? 1 : depths[static_cast<std::size_t>(parents.back())] + 1);
    }
  }
  // A row and its ancestors, the row first.
  std::vector<int> line(int row) const {
    std::vector<int> out;
    for (; row >= 0; row = parents[static_cast<std::size_t>(row)]) out.push_back(row);
    return out;
  }
};

// The rows below `base` that the item attends to; none: all of them.
std::optional<std::vector<int>> visible_rows(const model::ItemAttention& attention, int layer, int base, int rows) {
  if (!attention.policy || attention.watched_only) return std::nullopt;
  return attention.policy->select_kv({layer, 1, base, rows}).rows;
}

// The last tokens that a row sees, as a hash.
std::uint64_t seen_hash(const Tokens& rows, const RowTree& tree, int row, int base,
                        const std::optional<std::vector<int>>& visible) {
  std::array<Token, kSeen> last{};
  std::size_t count = 0;
  const auto add = [&](int r) { last[kSeen - ++count] = rows.at(static_cast<std::size_t>(r)); };
  for (int r = row; r >= 0 && count < kSeen; r = tree.parents[static_cast<std::size_t>(r)]) add(base + r);
  for (int below = visible ? static_cast<int>(visible->size()) : base; below > 0 && count < kSeen;) {
    --below;
    add(visible ? (*visible)[static_cast<std::size_t>(below)] : below);
  }
  return path_hash(0, TokenSpan(last).last(count));
}

// Every row looks at all that it sees alike.
void show_weights(const model::ForwardItem& item, int layer, int base, int held,
                  const std::optional<std::vector<int>>& visible, const RowTree& tree) {
  AttentionPolicy* policy = item.attention.policy;
  if (!policy || !policy->wants_weights()) return;
  std::vector<int> columns(static_cast<std::size_t>(base));
  std::iota(columns.begin(), columns.end(), 0);
  if (visible) columns = *visible;
  const std::size_t below = columns.size();
  const auto count = static_cast<int>(tree.parents.size()) - held;
  for (std::size_t row = 0; row < tree.parents.size(); ++row) columns.push_back(base + static_cast<int>(row));
  std::vector<float> weights(static_cast<std::size_t>(count) * columns.size());
  for (int query = 0; query < count; ++query) {
    float* row = weights.data() + static_cast<std::size_t>(query) * columns.size();
    const std::vector<int> line = tree.line(held + query);
    const float share = 1.0F / static_cast<float>(below + line.size());
    std::fill(row, row + below, share);
    for (const int own : line) row[below + static_cast<std::size_t>(own)] = share;
  }
  policy->observe({.layer = layer,
                   .kv_heads = 1,
                   .queries = count,
                   .first_row = base + held,
                   .drafted = std::holds_alternative<model::TreeShape>(item.shape),
                   .columns = columns,
                   .columns_per_head = false,
                   .weights = weights});
}

}  // namespace

ToyModel::ToyModel(const ToyOptions& options) : options_(options) {
  config_.family = "toy";
  config_.vocab_size = options.vocab;
  config_.num_layers = options.layers;
  config_.hidden_size = 2;
  config_.context = options.context;
}

std::shared_ptr<const model::LanguageModel> ToyModel::quantised(const model::WeightRounding&) const {
  ToyOptions options = options_;
  options.seed += 1;
  options.blend = 0.9;
  options.like = std::make_shared<ToyModel>(*this);
  return std::make_shared<ToyModel>(options);
}

std::shared_ptr<const model::LanguageModel> ToyModel::draft(bool other) const {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = options_.vocab,
                                               .seed = other ? 98U : 99U,
                                               .layers = 2,
                                               .context = options_.context,
                                               .blend = 0.75,
                                               .like = std::static_pointer_cast<const ToyModel>(shared_from_this())});
}

std::unique_ptr<model::KvCache> ToyModel::make_cache(int capacity) const {
  return std::make_unique<ToyCache>(options_.layers, capacity);
}

const std::vector<float>& ToyModel::logits(std::uint64_t hash, double noise) const {
  if (remembered_.size() > kMostRemembered) remembered_.clear();
  const auto [place, added] = remembered_.try_emplace({hash, std::bit_cast<std::uint64_t>(noise)});
  if (added) place->second = make_logits(hash, noise);
  return place->second;
}

std::vector<float> ToyModel::make_logits(std::uint64_t hash, double noise) const {
  std::vector<float> out(static_cast<std::size_t>(options_.vocab));
  const auto fill = [&](std::uint64_t h, double scale) {
    for (int t = 0; t < options_.vocab; ++t) {
      std::uint64_t x = (h + static_cast<std::uint64_t>(t) + 1) * 0xbf58476d1ce4e5b9ull;
      x ^= x >> 31;
      out[t] += static_cast<float>(scale * options_.sharpness * static_cast<double>(x % 10007) / 10007.0);
    }
  };
  fill(hash ^ options_.seed, 1.0);
  if (noise > 0) fill(hash * 31 + 5, noise);
  if (options_.like) {
    const std::vector<float>& base = options_.like->logits(hash, 0);
    for (std::size_t t = 0; t < out.size(); ++t)
      out[t] = static_cast<float>(options_.blend * base[t] + (1 - options_.blend) * out[t]);
  }
  return out;
}

std::vector<float> ToyModel::logits_after(TokenSpan text) const {
  return logits(path_hash(0, text.last(std::min(text.size(), kSeen))), 0);
}

// The rows of one item.
struct ToyModel::Rows {
  Tokens tokens;
  std::vector<std::uint64_t> state;
  std::vector<int> enters, leaves;  // by row
  int resumed = 0;                  // that the cache holds already: the first ones

  std::size_t count() const { return tokens.size(); }
  bool in(std::size_t row, int layer) const { return enters[row] <= layer && layer < leaves[row]; }
};

ToyModel::Rows ToyModel::rows_of(const model::ForwardItem& item, model::LayerRange range) const {
  Rows rows;
  if (const auto* span = std::get_if<TokenSpan>(&item.input)) {
    FORETELL_CHECK(range.first == 0, "tokens enter layer {}", range.first);
    rows.tokens.assign(span->begin(), span->end());
  } else {
    const at::Tensor states = std::get<at::Tensor>(item.input).contiguous();
    for (std::int64_t r = 0; r < states.size(0); ++r) {
      rows.tokens.push_back(static_cast<Token>(states[r][0].item<std::int64_t>()));
      rows.state.push_back(static_cast<std::uint64_t>(states[r][1].item<std::int64_t>()));
    }
    for (const Token token : item.tokens.subspan(item.enters.empty() ? item.tokens.size() : rows.count()))
      rows.tokens.push_back(token);
  }
  for (const Token t : rows.tokens) FORETELL_CHECK(t >= 0 && t < options_.vocab, "token {}", t);
  rows.enters.assign(rows.count(), range.first);
  rows.leaves.assign(rows.count(), range.last);
  std::ranges::copy(item.enters, rows.enters.begin());
  std::ranges::copy(item.leaves, rows.leaves.begin());
  rows.resumed = static_cast<int>(std::ranges::count_if(item.enters, [&](int at) { return at > range.first; }));
  return rows;
}

// The state of a row is the hash of the last three tokens that it sees; every layer recomputes it from its own cache,
// and a layer that disagrees spoils it for good.
ToyModel::Rows ToyModel::run_layers(const model::ForwardItem& item, const model::ForwardOptions& options) const {
  auto& cache = dynamic_cast<ToyCache&>(*item.cache);
  const model::LayerRange range = options.layers.value_or(model::LayerRange{0, options_.layers});
  Rows own = rows_of(item, range);
  const int held =
      std::holds_alternative<model::TreeShape>(item.shape) ? std::get<model::TreeShape>(item.shape).cached_rows : 0;
  const auto count = static_cast<int>(own.count());
  const RowTree tree(item, count);
  const int base = cache.length(range) - held - own.resumed;
  FORETELL_CHECK(base >= 0 && base + held + count <= cache.capacity(), "rows {} + {} of {}", base + held, count,
                 cache.capacity());
  for (int l = range.first; l < range.last; ++l) {
    Tokens& rows = cache.layer(l);
    const bool attends = !options.computed || options.computed->attention(l);
    rows.resize(static_cast<std::size_t>(base + held) + own.count(), kGarbage);
    for (std::size_t i = 0; i < own.count(); ++i)
      if (own.enters[i] <= l) rows[static_cast<std::size_t>(base + held) + i] = attends ? own.tokens[i] : kGarbage;
    const auto visible = visible_rows(item.attention, l, base, count);
    for (std::size_t i = 0; i < own.count(); ++i) {
      if (!own.in(i, l)) continue;
      ++layer_rows_;
      if (!attends) continue;
      const int row = held + static_cast<int>(i), depth = tree.depths.at(static_cast<std::size_t>(row));
      FORETELL_CHECK(base + depth <= options_.context, "position {} of {}", base + depth, options_.context);
      const std::uint64_t hash = seen_hash(rows, tree, row, base, visible);
      if (own.state.size() <= i)
        own.state.push_back(hash);
      else if (own.state[i] != hash)
        own.state[i] = own.state[i] * 3 + hash;
    }
    show_weights(item, l, base, held, visible, tree);
  }
  own.state.resize(own.count());
  return own;
}

model::ForwardResult ToyModel::forward(std::span<const model::ForwardItem> batch,
                                       const model::ForwardOptions& options) const {
  ++forwards_;
  std::vector<float> logit_rows;
  std::vector<std::int64_t> states;
  const model::LayerRange range = options.layers.value_or(model::LayerRange{0, options_.layers});
  int skipped = options_.layers - range.last;
  if (options.computed)
    for (int l = 0; l < options_.layers; ++l) skipped += !options.computed->attention(l) || !options.computed->mlp(l);
  const auto noise_of = [&](int layers) { return 0.3 * layers / options_.layers; };
  FORETELL_CHECK(options.exits == nullptr, "an exit policy on the toy, whose states mean nothing: {} items",
                 batch.size());
  model::ForwardResult result;
  result.layers = range;
  result.own_rules = model::own_rules(batch, options);
  for (const model::ForwardItem& item : batch) {
    const Rows rows = run_layers(item, options);
    rows_ += static_cast<long>(rows.count());
    result.left.insert(result.left.end(), rows.leaves.begin(), rows.leaves.end());
    for (std::size_t i = 0; i < rows.count(); ++i) {
      states.push_back(rows.tokens[i]);
      states.push_back(static_cast<std::int64_t>(rows.state[i]));
      if (item.logits == model::LogitRows::None || (item.logits == model::LogitRows::Last && i + 1 < rows.count()))
        continue;
      const std::vector<float>& row = logits(rows.state[i], noise_of(skipped + range.last - rows.leaves[i]));
      logit_rows.insert(logit_rows.end(), row.begin(), row.end());
    }
  }
  result.reached = result.left;
  result.probes.assign(result.left.size(), 0);
  if (!logit_rows.empty()) {
    result.logits =
        at::empty({static_cast<std::int64_t>(logit_rows.size()) / options_.vocab, options_.vocab}, at::kFloat);
    std::copy(logit_rows.begin(), logit_rows.end(), result.logits.mutable_data_ptr<float>());
  }
  if (options.aux_states.empty() && !options.return_final_state && !options.return_last_state) return result;
  const at::Tensor state = at::tensor(states, at::kLong).view({static_cast<std::int64_t>(states.size() / 2), 2});
  for (std::size_t i = 0; i < options.aux_states.size(); ++i) result.aux_states.push_back(state.clone());
  if (options.return_final_state) result.final_state = state.clone();
  if (options.return_last_state) result.last_state = state;
  return result;
}

}  // namespace foretell::certify
