#include "framework/model/plain_forward.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "framework/core/error.h"
#include "framework/kernels/attention/attention_tasks.h"
#include "framework/kernels/work_phases.h"

namespace foretell::model {
namespace {

using kernels::GroupRange;
using kernels::Product;

// A second thread is worth its start from two of these on: weights that are read, which so many rows multiply in the
// time of reading. Of a model of 0.5M weights 2 to 8 rows took 0.02 to 0.03 ms on one thread and 0.08 to 0.10 on two,
// of which one had to be woken up; of 3M weights two threads were faster with one row (EPYC Zen 5, beside other work).
constexpr std::int64_t kWeightsPerThread = 1 << 20;
constexpr int kRowsOfReading = 8;
constexpr std::int64_t kWorkPerChunk = 1 << 14;  // likewise a second chunk of a phase
constexpr int kChunksPerThread = 4;              // of a product: what one thread leaves to another that waits for it

std::optional<int>& assumed_threads() {
  static std::optional<int> threads;
  return threads;
}

std::int64_t multiplications(const Product& product) {
  return product.groups * kernels::kGroup * kernels::kPanel * product.inputs;
}

int chunks_of(const Product& product, int threads) {
  if (threads == 1) return 1;
  const std::int64_t worth = product.rows * multiplications(product) / kWorkPerChunk;
  return static_cast<int>(std::clamp<std::int64_t>(
      worth, 1, std::min<std::int64_t>(product.groups, std::int64_t{kChunksPerThread} * threads)));
}

// The groups of one of `chunks` chunks.
GroupRange range_of(const Product& product, int chunk, int chunks) {
  return {product.groups * chunk / chunks, product.groups * (chunk + 1) / chunks};
}

Product with_rows(Product product, std::int64_t rows) {
  product.rows = rows;
  return product;
}

bool asks_for_logits_alone(const ForwardOptions& options) {
  return !options.computed && options.aux_states.empty() && !options.return_final_state && !options.return_last_state &&
         !options.exits && !options.router && !options.trace_experts && !options.count_work;
}

bool is_plain_item(const ForwardItem& item, const ItemPlan& plan, LayerRange layers, at::ScalarType type) {
  if (plan.rows == 0 || !std::holds_alternative<TokenSpan>(item.input) || plan.resumed > 0 || item.attention.policy ||
      plan.cache->keys(layers.first).scalar_type() != type)
    return false;
  for (int layer = layers.first; layer < layers.last; ++layer)
    if (!plan.cache->hidden(layer).empty()) return false;
  return true;
}

// Memory of a thread that grows.
template <class T>
T* room_for(std::vector<T>& room, std::int64_t count) {
  if (room.size() < static_cast<std::size_t>(count)) room.resize(static_cast<std::size_t>(count));
  return room.data();
}

}  // namespace

// One forward pass: six phases a layer and one for the logits. A thread that comes to a product normalises and lays
// out its rows for itself, which takes less time than waiting for another to do it.
template <class T>
class PlainForward::Pass {
 public:
  Pass(const PlainForward& model, const BatchPlan& plan, LayerRange layers, std::span<const std::int64_t> logit_rows,
       float* logits)
      : model_(model),
        plan_(plan),
        layers_(layers),
        logit_rows_(logit_rows),
        logits_(logits),
        hidden_(model.embedding_.size(1)),
        threads_(model.threads_for(plan.rows, static_cast<int>(logit_rows.size()), layers)),
        code_(kernels::attention::attention_code(model.embedding_.scalar_type())) {
    static thread_local std::vector<T> states, qkv, attended, inside;
    static thread_local kernels::attention::LayerTasks tasks[2];
    tasks_ = tasks;
    std::int64_t width = 0, values = 0, up = 0;
    for (const Layer& layer : model.layers_) {
      width = std::max(width, layer.qkv.output.width);
      values = std::max(values, layer.output.inputs);
      up = std::max(up, layer.up.output.width);
    }
    states_ = room_for(states, plan.rows * hidden_);
    qkv_ = room_for(qkv, plan.rows * width);
    attended_ = room_for(attended, plan.rows * values);
    inside_ = room_for(inside, plan.rows * up);
  }

  void run(std::span<const ForwardItem> batch) {
    static thread_local std::vector<int> chunks;
    embed(batch);
    plan_attention();
    chunks.clear();
    for (int layer = layers_.first; layer < layers_.last; ++layer)
      for (int step = 0; step < kSteps; ++step) chunks.push_back(chunks_in(layer, static_cast<Step>(step)));
    if (!logit_rows_.empty()) chunks.push_back(chunks_of(head(), threads_));
    chunks_ = chunks;
    kernels::run_phases(chunks_, threads_, [this](int phase, int chunk, bool first) { work(phase, chunk, first); });
  }

 private:
  enum class Step { Qkv, Store, Attend, Output, Up, Down };
  static constexpr int kSteps = 6;

  const Layer& layer_at(int layer) const { return model_.layers_[static_cast<std::size_t>(layer)]; }
  Product head() const { return with_rows(model_.head_, static_cast<std::int64_t>(logit_rows_.size())); }
  Product product(const Layer& layer, Step step) const {
    const Product& of = step == Step::Qkv      ? layer.qkv
                        : step == Step::Output ? layer.output
                        : step == Step::Up     ? layer.up
                                               : layer.down;
    return with_rows(of, plan_.rows);
  }
  int chunks_in(int layer, Step step) const {
    const Layer& own = layer_at(layer);
    if (step == Step::Store) return static_cast<int>(plan_.items.size()) * own.own.layout().kv_heads;
    if (step == Step::Attend) return tasks_of(own).count();
    return chunks_of(product(own, step), threads_);
  }

  void embed(std::span<const ForwardItem> batch) {
    const T* const table = model_.embedding_.template const_data_ptr<T>();
    T* to = states_;
    for (const ForwardItem& item : batch)
      for (const Token token : std::get<TokenSpan>(item.input)) {
        std::memcpy(to, table + token * hidden_, static_cast<std::size_t>(hidden_) * sizeof(T));
        to += hidden_;
      }
  }

  // Of a thread, [rows, hidden].
  static T* own_rows(std::int64_t count) {
    static thread_local std::vector<T> rows;
    return room_for(rows, count);
  }
  void norm(const Norm& norm, std::int64_t row, T* to) const {
    kernels::rms_norm_row(states_ + row * hidden_, norm.gain.const_data_ptr<T>(), to, hidden_,
                          static_cast<float>(norm.eps));
  }
  void lay_out_normed(const Product& product, const Norm& by) const {
    T* const rows = own_rows(plan_.rows * hidden_);
    for (int row = 0; row < plan_.rows; ++row) norm(by, row, rows + row * hidden_);
    kernels::lay_out_rows(product, rows);
  }

  void work(int phase, int chunk, bool first) const {
    const int layer = layers_.first + phase / kSteps;
    const int chunks = chunks_[static_cast<std::size_t>(phase)];
    if (layer == layers_.last) return answer(chunk, chunks, first);
    const Layer& own = layer_at(layer);
    const auto step = static_cast<Step>(phase % kSteps);
    if (step == Step::Store) return store(own, layer, chunk);
    if (step == Step::Attend) return attend(own, layer, chunk);
    const Product of = product(own, step);
    if (first) lay_out(of, own.own.weights(), step);
    T* const to = step == Step::Qkv ? qkv_ : step == Step::Up ? inside_ : states_;
    kernels::multiply_groups<T>(of, range_of(of, chunk, chunks), to);
  }

  void lay_out(const Product& of, const LayerWeights& weights, Step step) const {
    switch (step) {
      case Step::Qkv: return lay_out_normed(of, weights.attention_norm);
      case Step::Up: return lay_out_normed(of, weights.mlp_norm);
      case Step::Output: return kernels::lay_out_rows(of, attended_);
      case Step::Down: return kernels::lay_out_rows(of, inside_);
      case Step::Store:
      case Step::Attend: return;
    }
  }

  // One key head of an item: rotates it and its group's queries, and writes keys and values to the cache.
  void store(const Layer& layer, int number, int chunk) const {
    const kernels::HeadLayout& layout = layer.own.layout();
    const ItemPlan& item = plan_.items[static_cast<std::size_t>(chunk / layout.kv_heads)];
    const kernels::attention::AttentionJob job = job_of(layer, item, number);
    for (int row = 0; row < item.rows; ++row) store_row(layout, item, row, chunk % layout.kv_heads, job);
  }

  void attend(const Layer& layer, int number, int chunk) const {
    kernels::attention::LayerTasks& tasks = tasks_of(layer);
    tasks.run(chunk, job_of(layer, plan_.items[tasks.job(chunk)], number));
  }

  // What layers of one kind see is the same.
  kernels::attention::LayerTasks& tasks_of(const Layer& layer) const {
    return tasks_[layer.own.layout().windowed ? 1 : 0];
  }
  void plan_attention() {
    bool planned[2] = {false, false};
    for (int number = layers_.first; number < layers_.last; ++number) {
      const Layer& layer = layer_at(number);
      bool& known = planned[layer.own.layout().windowed ? 1 : 0];
      if (known) continue;
      known = true;
      static thread_local std::vector<kernels::attention::AttentionJob> jobs;
      jobs.clear();
      for (const ItemPlan& item : plan_.items) jobs.push_back(job_of(layer, item, number));
      tasks_of(layer).plan(jobs, code_, threads_);
    }
  }

  kernels::attention::AttentionJob job_of(const Layer& layer, const ItemPlan& item, int number) const {
    using kernels::attention::HeadRows;
    constexpr auto kType = std::is_same_v<T, float> ? HeadRows::Type::Float32 : HeadRows::Type::BFloat16;
    const kernels::HeadLayout& layout = layer.own.layout();
    const std::int64_t dim = layout.head_dim, value_dim = layout.value_dim(), width = layout.width();
    const auto rows_of = [](const at::Tensor& all, std::int64_t wide) {
      return HeadRows{kType, all.const_data_ptr<T>(), wide};
    };
    return {.queries = reinterpret_cast<const std::byte*>(qkv_ + item.offset * width),
            .row_bytes = width * static_cast<std::int64_t>(sizeof(T)),
            .keys = rows_of(item.cache->keys(number), dim),
            .values = rows_of(item.cache->values(number), value_dim),
            .key_scales = nullptr,
            .value_scales = nullptr,
            .columns = nullptr,
            .head_columns = 0,
            .capacity = item.cache->capacity(),
            .dim = dim,
            .value_dim = value_dim,
            .kv_heads = layout.kv_heads,
            .group = layout.heads / layout.kv_heads,
            .seen = &seen_in_layer(item, layout),
            .scale = static_cast<float>(layer.own.scale()),
            .out = reinterpret_cast<std::byte*>(attended_ + item.offset * layout.heads * value_dim)};
  }

  void store_row(const kernels::HeadLayout& layout, const ItemPlan& item, int row, int head,
                 const kernels::attention::AttentionJob& job) const {
    const std::int64_t flat = std::int64_t{item.offset} + row;
    T* const of_row = qkv_ + flat * layout.width();
    T* const key = of_row + (layout.heads + head) * job.dim;
    if (plan_.cosines.defined()) {
      const std::int64_t pairs = plan_.cosines.size(1);
      const kernels::Angles angles{plan_.cosines.const_data_ptr<float>() + flat * pairs,
                                   plan_.sines.const_data_ptr<float>() + flat * pairs, pairs, layout.interleaved};
      kernels::rotate_heads(of_row + head * job.group * job.dim + layout.rotary_first, job.group, job.dim, angles);
      kernels::rotate_heads(key + layout.rotary_first, 1, job.dim, angles);
    }
    const T* const value = of_row + (layout.heads + layout.kv_heads) * job.dim + head * job.value_dim;
    const auto place = head * job.capacity + item.cache_row(row);
    const auto write = [place](const T* from, const kernels::attention::HeadRows& all) {
      auto* const first = static_cast<T*>(const_cast<void*>(all.first));  // the cache is the item's to change
      std::memcpy(first + place * all.width, from, static_cast<std::size_t>(all.width) * sizeof(T));
    };
    write(key, job.keys);
    write(value, job.values);
  }

  void answer(int chunk, int chunks, bool first) const {
    const Product of = head();
    if (first) {
      T* const rows = own_rows(of.rows * hidden_);
      for (std::int64_t i = 0; i < of.rows; ++i)
        norm(model_.final_norm_, logit_rows_[static_cast<std::size_t>(i)], rows + i * hidden_);
      kernels::lay_out_rows(of, rows);
    }
    kernels::multiply_groups<T>(of, range_of(of, chunk, chunks), logits_);
  }

  const PlainForward& model_;
  const BatchPlan& plan_;
  LayerRange layers_;
  std::span<const std::int64_t> logit_rows_;
  float* logits_;
  std::int64_t hidden_;
  int threads_;
  kernels::attention::AttentionCode code_;
  std::span<const int> chunks_ = {};
  T *states_, *qkv_, *attended_, *inside_;
  kernels::attention::LayerTasks* tasks_;  // of layers that see everything, and of windowed ones
};

std::optional<PlainForward> PlainForward::of(const formats::ModelConfig& config, const at::Tensor& embedding,
                                             std::span<const DecoderLayer> layers, const Norm& final_norm,
                                             const Linear& head) {
  const bool known_type = embedding.scalar_type() == at::kFloat || embedding.scalar_type() == at::kBFloat16;
  if (!embedding.device().is_cpu() || !known_type || !embedding.is_contiguous() || !final_norm.is_rms() ||
      !head.packed() || head.outputs() != config.vocab_size ||
      !std::ranges::all_of(layers, [](const DecoderLayer& layer) { return layer.is_plain(); }))
    return std::nullopt;
  using Kind = kernels::Output::Kind;
  const auto product = [](const Linear& matrix, const kernels::Output& kind) {
    return matrix.packed()->product_of(0, kind, matrix.wide_bias());
  };
  PlainForward out;
  out.embedding_ = embedding;
  out.final_norm_ = final_norm;
  out.head_matrix_ = head;
  out.head_ = product(head, {.kind = Kind::Store});
  for (const DecoderLayer& layer : layers) {
    const LayerWeights& w = layer.weights();
    out.layers_.push_back({layer, product(w.qkv, {.kind = Kind::Store}), product(w.output, {.kind = Kind::Add}),
                           product(w.up, {.kind = Kind::Gate, .activation = layer.activation()}),
                           product(w.down, {.kind = Kind::Add})});
  }
  return out;
}

bool PlainForward::takes(std::span<const ForwardItem> batch, const BatchPlan& plan, const ForwardOptions& options,
                         LayerRange layers) const {
  if (assumed_threads().value_or(1) == 0 || plan.rows == 0 || plan.rows > kernels::kRegionRows || layers.first != 0 ||
      !plan.enters.empty() || !plan.leaves.empty() || !asks_for_logits_alone(options))
    return false;
  for (std::size_t i = 0; i < batch.size(); ++i)
    if (!is_plain_item(batch[i], plan.items[i], layers, embedding_.scalar_type())) return false;
  return true;
}

int PlainForward::threads_for(int rows, int logit_rows, LayerRange layers) const {
  if (assumed_threads()) return *assumed_threads();
  const auto work_of = [](const Product& product, int with) {
    return with == 0 ? 0 : multiplications(product) * (kRowsOfReading + with) / kRowsOfReading;
  };
  std::int64_t work = work_of(head_, logit_rows);
  for (int layer = layers.first; layer < layers.last; ++layer) {
    const Layer& own = layers_[static_cast<std::size_t>(layer)];
    for (const Product* product : {&own.qkv, &own.output, &own.up, &own.down}) work += work_of(*product, rows);
  }
  return static_cast<int>(std::clamp<std::int64_t>(work / kWeightsPerThread, 1, at::get_num_threads()));
}

at::Tensor PlainForward::run(std::span<const ForwardItem> batch, const BatchPlan& plan, LayerRange layers,
                             const std::optional<std::vector<std::int64_t>>& logit_rows) const {
  std::vector<std::int64_t> all;
  if (!logit_rows) {
    all.resize(static_cast<std::size_t>(plan.rows));
    std::iota(all.begin(), all.end(), 0);
  }
  const std::span<const std::int64_t> rows = logit_rows ? *logit_rows : all;
  at::Tensor logits;
  if (!rows.empty()) logits = kernels::room_for_rows(static_cast<std::int64_t>(rows.size()), head_.output.width);
  float* const to = logits.defined() ? logits.mutable_data_ptr<float>() : nullptr;
  embedding_.scalar_type() == at::kFloat ? Pass<float>(*this, plan, layers, rows, to).run(batch)
                                         : Pass<at::BFloat16>(*this, plan, layers, rows, to).run(batch);
  return logits;
}

void assume_plain_forward(std::optional<int> threads) { assumed_threads() = threads; }

}  // namespace foretell::model
