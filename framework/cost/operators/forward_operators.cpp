#include "framework/cost/operators/forward_operators.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "framework/core/error.h"
#include "framework/cost/model_costs.h"

namespace foretell::cost::operators {
namespace {

constexpr int kGroup = 128;               // weights of 4 bits that share a scale
constexpr double kScaleBytes = 2;         // of float16
constexpr double kConversion = 2;         // operations of a weight: to a float, times its scale
constexpr double kRmsOperations = 4;      // square, add, times the root, times the weight
constexpr double kLayerOperations = 7;    // add, subtract, square, add, times the root, times the weight, plus the bias
constexpr double kSoftmaxOperations = 5;  // largest, subtract, exponential, add, divide
constexpr double kActivationOperations = 4;  // x / (1 + exp(-x)); relu takes one
constexpr double kRotationOperations = 3;    // x cos + y sin of each element
constexpr double kQueryBlock = 64;           // rows of a block where nothing is known of the chip

double bytes_of(int bits) { return bits / 8.0; }

// What attends to what, in one layer of one sequence.
struct Seen {
  double pairs = 0;  // of a new token and a token that it attends to
  double keys = 0;   // tokens that some new token attends to
};

// `length` rows behind `context` tokens, each seeing at most `window`.
double chain_pairs(double length, double context, double window) {
  const double whole = std::clamp(window - context, 0.0, length);  // rows that see everything
  return whole * context + whole * (whole + 1) / 2 + (length - whole) * window;
}

Seen seen_by(const ForwardShape& shape, double window) {
  const double rows = shape.row_count();
  Seen seen{.keys = std::min(shape.context, window - 1) + rows};
  if (shape.tree.empty()) {
    seen.pairs = chain_pairs(rows, shape.context, window);
  } else {
    for (std::size_t depth = 0; depth < shape.tree.size(); ++depth)
      seen.pairs += shape.tree[depth] * std::min(shape.context + static_cast<double>(depth) + 1, window);
  }
  return seen;
}

// One kind of attention: sizes of a head, and how many share what is cached.
struct Heads {
  double query_heads = 0, kv_heads = 0, key_size = 0, value_size = 0;
  bool values_in_keys = false;  // what is read for a key holds its value
};

// Tokens whose keys are read, summed over the blocks of queries of one key head.
double keys_of_blocks(const ForwardShape& shape, const Heads& heads, double window, double block_rows) {
  const double rows = shape.row_count();
  const double group = heads.query_heads / heads.kv_heads;
  const double queries = std::max(1.0, std::floor(block_rows / group));
  const double blocks = std::ceil(rows / queries);
  // A query whose heads fill more than one block is read for by each of them.
  const double repeats = std::max(1.0, std::ceil(group / block_rows));
  if (!shape.tree.empty()) return repeats * blocks * seen_by(shape, window).keys;
  double keys = 0;
  for (double block = 0; block < blocks; ++block) {
    const double first = block * queries, last = std::min(first + queries, rows);
    keys += std::min(shape.context + last, window - 1 + last - first);
  }
  return repeats * keys;
}

class Builder {
 public:
  Builder(const formats::ModelConfig& config, const Hardware& hardware, const Precision& precision,
          const ForwardShape& shape)
      : config_(config),
        hardware_(hardware),
        precision_(precision),
        shape_(shape),
        tokens_(shape.batch * shape.row_count()),
        hidden_(config.hidden_size),
        act_(bytes_of(precision.activations)),
        wide_(bytes_of(wide_bits(precision))) {}

  ForwardOperators forward() {
    if (shape_.first_layer == 0) embedding();
    transformer_layers(shape_.first_layer, end_layer());
    head();
    return priced();
  }

  // A head that is a layer of its own: the next token's embedding and the hidden state are joined, pass a layer such as
  // the model's last one, and the model's head.
  ForwardOperators drafting_layer() {
    embedding();
    linear("join", 2 * hidden_, hidden_, tokens_);
    transformer_layers(config_.num_layers - 1, config_.num_layers);
    head();
    return priced();
  }

  // Heads of one token each: a residual block on the hidden state, and a matrix to the vocabulary of its own.
  ForwardOperators medusa_heads(int heads) {
    layers_ = heads;
    linear("medusa_block", hidden_, hidden_, tokens_, true);
    elementwise("medusa_act", (kActivationOperations + 1) * tokens_ * hidden_, 2 * tokens_ * hidden_,
                tokens_ * hidden_);
    vocabulary_matrix("medusa_head", tokens_);
    return priced();
  }

 private:
  int end_layer() const { return shape_.layers.value_or(config_.num_layers); }

  // Layers differ in their window and in whether their MLP is one of experts.
  void transformer_layers(int begin, int end) {
    std::map<bool, int> windowed, sparse;
    for (int layer = begin; layer < end; ++layer) {
      ++windowed[config_.is_windowed(layer)];
      ++sparse[config_.is_sparse(layer)];
    }
    layers_ = end - begin;
    attention_inputs();
    for (const auto& [has_window, count] : windowed) {
      layers_ = count;
      attention(has_window, windowed.size() > 1);
    }
    layers_ = end - begin;
    attention_output();
    for (const auto& [has_experts, count] : sparse) {
      layers_ = count;
      has_experts ? experts() : mlp("", config_.intermediate_size);
    }
    layers_ = end - begin;
    addition("mlp_add");
    layers_ = 1;
  }

  // Elements that are loaded and stored, with operations; the weights are `weights` numbers that are not quantised.
  OperatorWork& elementwise(const std::string& name, double operations, double loaded, double stored,
                            double weights = 0) {
    return add({.name = name,
                .operations = operations,
                .load_weight = weights * wide_,
                .load_act = loaded * act_,
                .store_act = stored * act_,
                .stored_weight = weights * wide_,
                .bits = std::max(16, precision_.activations)});
  }

  OperatorWork& add(OperatorWork work) {
    work.layers = layers_;
    works_.push_back(std::move(work));
    return works_.back();
  }

  // A matrix that `rows` rows are multiplied with; `copies` of it are stored, of which `touched` are read, and `rows`
  // is the sum over all of them.
  OperatorWork& linear(const std::string& name, double inputs, double outputs, double rows, bool bias = false,
                       double copies = 1, double touched = 1) {
    const double bytes = matrix_bytes(inputs, outputs, precision_.weights) + (bias ? outputs * wide_ : 0);
    return add({.name = name,
                .operations = 2 * inputs * outputs * rows + (bias ? outputs * rows : 0) +
                              touched * conversion_operations(inputs * outputs, precision_),
                .load_weight = touched * bytes,
                .load_act = inputs * rows * act_,
                .store_act = outputs * rows * act_,
                .stored_weight = copies * bytes,
                .bits = std::max(precision_.weights, precision_.activations)});
  }

  void norm(const std::string& name, double rows, double size) {
    const bool rms = config_.norm == formats::NormKind::Rms;
    elementwise(name, (rms ? kRmsOperations : kLayerOperations) * rows * size, rows * size, rows * size,
                size * (rms ? 1 : 2));
  }

  void addition(const std::string& name) {
    elementwise(name, tokens_ * hidden_, 2 * tokens_ * hidden_, tokens_ * hidden_);
  }

  void embedding() {
    const double vocab = config_.vocab_rows();
    const bool learned = config_.position == formats::PositionKind::Learned;
    OperatorWork& work = elementwise("embedding", learned ? tokens_ * hidden_ : 0, 0, tokens_ * hidden_);
    work.load_weight = (std::min(tokens_, vocab) + (learned ? shape_.row_count() : 0)) * hidden_ * wide_;
    work.stored_weight = (vocab + (learned ? config_.context : 0)) * hidden_ * wide_;
  }

  // What is written into the cache by whatever makes keys last.
  static void into_cache(OperatorWork& work, double activations, double cached) {
    work.store_act -= activations;
    work.store_kv_cache += cached;
  }

  void attention_inputs() {
    if (config_.sublayer_norms) norm("attn_norm", tokens_, hidden_);
    config_.latent ? latent_inputs(*config_.latent) : head_inputs();
  }

  void head_inputs() {
    const double queries = double{1} * config_.num_heads * config_.head_dim;
    const double keys = double{1} * config_.num_kv_heads * config_.head_dim;
    const double cached = tokens_ * keys * bytes_of(precision_.cache);
    linear("q_proj", hidden_, queries, tokens_, config_.qkv_bias);
    linear("k_proj", hidden_, keys, tokens_, config_.qkv_bias);
    const bool normed = config_.qk_norm != formats::QkNorm::None,
               rotated = config_.position == formats::PositionKind::Rope;
    if (!normed && !rotated) into_cache(works_.back(), tokens_ * keys * act_, cached);
    into_cache(linear("v_proj", hidden_, keys, tokens_, config_.qkv_bias), tokens_ * keys * act_, cached);
    if (normed) {
      const double weights = config_.qk_norm == formats::QkNorm::Head ? 2.0 * config_.head_dim : queries + keys;
      elementwise("qk_norm", kRmsOperations * tokens_ * (queries + keys), tokens_ * (queries + keys),
                  tokens_ * (queries + keys), weights);
      if (!rotated) into_cache(works_.back(), tokens_ * keys * act_, cached);
    }
    if (rotated) rotation(queries + keys, config_.num_heads + config_.num_kv_heads, tokens_ * keys * act_, cached);
  }

  void rotation(double elements, double heads, double activations, double cached) {
    OperatorWork& work = elementwise("rope", kRotationOperations * tokens_ * heads * config_.rotary_dim(),
                                     tokens_ * elements, tokens_ * elements);
    into_cache(work, activations, cached);
  }

  void latent_inputs(const formats::LatentConfig& latent) {
    const double heads = config_.num_heads, key_size = latent.plain_dim + latent.rotary_dim;
    if (latent.query_rank > 0) {
      linear("q_a_proj", hidden_, latent.query_rank, tokens_, config_.qkv_bias);
      norm("q_a_norm", tokens_, latent.query_rank);
      linear("q_b_proj", latent.query_rank, heads * key_size, tokens_);
    } else {
      linear("q_proj", hidden_, heads * key_size, tokens_);
    }
    const double row = latent.kv_rank + latent.rotary_dim;
    linear("kv_a_proj", hidden_, row, tokens_, config_.qkv_bias);
    norm("kv_a_norm", tokens_, latent.kv_rank);
    if (!shape_.expanded_cache)
      into_cache(works_.back(), tokens_ * latent.kv_rank * act_, tokens_ * latent.kv_rank * bytes_of(precision_.cache));
    // All heads share the rotated part of a key.
    const double rotary = latent.rotary_dim;
    const double kept = shape_.expanded_cache ? heads * rotary : rotary;
    rotation((heads + 1) * rotary, heads + 1, tokens_ * rotary * act_, tokens_ * kept * bytes_of(precision_.cache));
  }

  Heads heads_of_cache() const {
    return {.query_heads = static_cast<double>(config_.num_heads),
            .kv_heads = static_cast<double>(config_.num_kv_heads),
            .key_size = static_cast<double>(config_.head_dim),
            .value_size = static_cast<double>(config_.value_dim())};
  }

  // `mixed`: layers of both kinds are passed.
  void attention(bool has_window, bool mixed) {
    // Wider than any context: everything is seen.
    const double window = has_window ? config_.sliding_window : shape_.context + shape_.row_count();
    const std::string suffix = has_window && mixed ? ".window" : "";
    if (config_.latent)
      latent_attention(suffix, window, *config_.latent);
    else
      head_attention(suffix, window, heads_of_cache(), true);
  }

  void latent_attention(const std::string& suffix, double window, const formats::LatentConfig& latent) {
    const double heads = config_.num_heads, rank = latent.kv_rank;
    const double both = heads * (latent.plain_dim + latent.value_dim);  // outputs of kv_b_proj
    const Heads full{.query_heads = heads,
                     .kv_heads = heads,
                     .key_size = static_cast<double>(latent.plain_dim + latent.rotary_dim),
                     .value_size = static_cast<double>(latent.value_dim)};
    if (shape_.expanded_cache) {
      const double cached = tokens_ * both * bytes_of(precision_.cache);
      into_cache(linear("kv_b_proj" + suffix, rank, both, tokens_), tokens_ * both * act_, cached);
      return head_attention(suffix, window, full, true);
    }
    const Heads absorbed{.query_heads = heads,
                         .kv_heads = 1,
                         .key_size = rank + latent.rotary_dim,
                         .value_size = rank,
                         .values_in_keys = true};
    const Seen seen = seen_by(shape_, window);
    const double keys = shape_.batch * seen.keys;
    const auto products = [&](const Heads& h) {
      return 2 * shape_.batch * seen.pairs * h.query_heads * (h.key_size + h.value_size);
    };
    if (2 * keys * rank * both + products(full) <= 2 * tokens_ * rank * both + products(absorbed)) {
      OperatorWork& work = linear("kv_b_proj" + suffix, rank, both, keys);
      work.load_act = 0;
      work.load_kv_cache = keys * rank * bytes_of(precision_.cache);
      return head_attention(suffix, window, full, false);
    }
    linear("absorb_k" + suffix, latent.plain_dim * heads, rank, tokens_).store_act *= heads;
    head_attention(suffix, window, absorbed, true);
    linear("absorb_v" + suffix, rank, heads * latent.value_dim, tokens_).load_act *= heads;
  }

  // `cached`: keys and values are in the cache, not activations that were made a moment ago.
  void head_attention(const std::string& suffix, double window, const Heads& heads, bool cached) {
    const Seen seen = seen_by(shape_, window);
    const double pairs = shape_.batch * heads.query_heads * seen.pairs;
    const double queries = tokens_ * heads.query_heads * heads.key_size;
    const double outputs = tokens_ * heads.query_heads * heads.value_size;
    const double number = cached ? bytes_of(precision_.cache) : act_;
    const int bits = std::max(precision_.activations, cached ? precision_.cache : 0);
    const double scores = 2 * pairs * heads.key_size, sums = 2 * pairs * heads.value_size;
    const auto read = [&](OperatorWork& work, double bytes) { (cached ? work.load_kv_cache : work.load_act) += bytes; };
    if (shape_.fused) {
      OperatorWork& work =
          elementwise("fused_attention" + suffix, scores + sums + kSoftmaxOperations * pairs, queries, outputs);
      const double values = heads.values_in_keys ? 0 : heads.value_size;
      const double per_token = heads.kv_heads * (heads.key_size + values) * number;
      read(work, shape_.batch * keys_of_blocks(shape_, heads, window, block_rows(heads)) * per_token);
      work.bits = bits;
      return;
    }
    const double keys = shape_.batch * seen.keys * heads.kv_heads;
    OperatorWork& scored = elementwise("qk_matmul" + suffix, scores, queries, pairs);
    read(scored, keys * heads.key_size * number);
    scored.bits = bits;
    elementwise("softmax" + suffix, kSoftmaxOperations * pairs, pairs, pairs);
    OperatorWork& summed = elementwise("sv_matmul" + suffix, sums, pairs, outputs);
    read(summed, keys * heads.value_size * number);
    summed.bits = bits;
  }

  // FlashAttention's block of queries, as LLM-Viewer has it: what fits the chip, at most a head's size.
  double block_rows(const Heads& heads) const {
    if (!hardware_.onchip_buffer) return kQueryBlock;
    return std::min(std::ceil(*hardware_.onchip_buffer / (bytes_of(precision_.cache) * heads.key_size)),
                    heads.key_size);
  }

  void attention_output() {
    linear("out_proj", double{1} * config_.num_heads * config_.value_dim(), hidden_, tokens_, config_.output_bias);
    addition("attn_add");
    if (config_.sublayer_norms) norm("mlp_norm", tokens_, hidden_);
  }

  // One MLP; with experts its rows are those of all of them.
  void mlp(const std::string& prefix, double size, double rows, double copies, double touched) {
    if (config_.gated_mlp) linear(prefix + "gate_proj", hidden_, size, rows, config_.mlp_bias, copies, touched);
    linear(prefix + "up_proj", hidden_, size, rows, config_.mlp_bias, copies, touched);
    const double activation = config_.activation == Activation::Relu ? 1 : kActivationOperations;
    elementwise(prefix + "mlp_act", (activation + (config_.gated_mlp ? 1 : 0)) * rows * size,
                (config_.gated_mlp ? 2 : 1) * rows * size, rows * size);
    linear(prefix + "down_proj", size, hidden_, rows, config_.mlp_bias, copies, touched);
  }
  void mlp(const std::string& prefix, double size) { mlp(prefix, size, tokens_, 1, 1); }

  void experts() {
    const formats::MoeConfig& moe = config_.moe;
    const double all = moe.experts, active = moe.experts_per_token;
    elementwise("router", 2 * hidden_ * all * tokens_ + kSoftmaxOperations * all * tokens_, tokens_ * hidden_,
                tokens_ * all, hidden_ * all + (moe.selection_bias ? all : 0));
    mlp("expert_", moe.expert_size, active * tokens_, all,
        expected_experts(moe.experts, moe.experts_per_token, tokens_));
    elementwise("expert_sum", 2 * active * tokens_ * hidden_, active * tokens_ * hidden_, tokens_ * hidden_);
    if (moe.shared_size == 0) return;
    mlp("shared_", moe.shared_size);
    if (moe.shared_gated) elementwise("shared_gate", 3 * tokens_ * hidden_, 2 * tokens_ * hidden_, tokens_, hidden_);
    addition("shared_add");
  }

  void head() {
    const double rows = shape_.batch * std::min(shape_.logit_rows, shape_.row_count());
    if (rows == 0) return;
    norm("final_norm", rows, hidden_);
    OperatorWork& work = vocabulary_matrix("lm_head", rows);
    if (config_.tie_embeddings) work.stored_weight = 0;
  }

  OperatorWork& vocabulary_matrix(const std::string& name, double rows) {
    const double vocab = config_.vocab_rows();
    OperatorWork& work = elementwise(name, 2 * hidden_ * vocab * rows, rows * hidden_, rows * vocab, hidden_ * vocab);
    work.bits = std::max(wide_bits(precision_), precision_.activations);
    return work;
  }

  ForwardOperators priced() {
    double bytes = 0;
    for (const OperatorWork& work : works_) bytes += work.layers * (work.load_weight + work.load_kv_cache);
    const Roofs roofs{.bandwidth = hardware_.bandwidth_over(bytes), .launch = hardware_.launch};
    std::vector<OperatorCost> costs;
    double widest = 0;
    for (OperatorWork& work : works_) {
      widest = std::max(widest, work.load_act + work.store_act);
      const double peak = hardware_.peak_of(work.bits);
      costs.push_back(on_roofline(std::move(work), peak, roofs));
    }
    ForwardOperators forward = summed(std::move(costs));
    // What an operator reads and writes, beside the residual stream.
    forward.activation_bytes = widest + tokens_ * hidden_ * act_;
    forward.weight_bytes = forward.total.stored_weight;
    forward.cache_bytes = cache_bytes();
    return forward;
  }

  double cache_bytes() const {
    double numbers = heads_of_cache().kv_heads * (heads_of_cache().key_size + heads_of_cache().value_size);
    if (config_.latent && !shape_.expanded_cache) numbers = config_.latent->kv_rank + config_.latent->rotary_dim;
    double tokens = 0;
    for (int layer = shape_.first_layer; layer < end_layer(); ++layer) {
      const double all = shape_.context + shape_.row_count();
      // A windowed layer keeps what the next token still sees beside the new rows.
      tokens += config_.is_windowed(layer) ? std::min(all, config_.sliding_window - 1 + shape_.row_count()) : all;
    }
    return shape_.batch * tokens * numbers * bytes_of(precision_.cache);
  }

  const formats::ModelConfig& config_;
  const Hardware& hardware_;
  const Precision& precision_;
  const ForwardShape& shape_;
  double tokens_, hidden_, act_, wide_;
  int layers_ = 1;
  std::vector<OperatorWork> works_;
};

void check_shape(const formats::ModelConfig& config, const ForwardShape& shape) {
  FORETELL_CHECK(shape.batch >= 1 && shape.context >= 0 && shape.row_count() >= 1 && shape.logit_rows >= 0,
                 "batch {}, context {}, rows {}, logits {}", shape.batch, shape.context, shape.row_count(),
                 shape.logit_rows);
  if (shape.layers && (*shape.layers < 1 || *shape.layers > config.num_layers))
    fail("an exit behind layer {}: the model has {}", *shape.layers, config.num_layers);
  const int end = shape.layers.value_or(config.num_layers);
  FORETELL_CHECK(shape.first_layer >= 0 && shape.first_layer < end, "layers {} to {}", shape.first_layer, end);
}

}  // namespace

double ForwardShape::row_count() const { return tree.empty() ? rows : std::accumulate(tree.begin(), tree.end(), 0.0); }

int wide_bits(const Precision& precision) { return std::max(16, precision.weights); }

double matrix_bytes(double inputs, double outputs, int bits) {
  const double scales = bits >= 16 ? 0 : bits == 8 ? outputs : outputs * std::ceil(inputs / kGroup);
  return inputs * outputs * bits / 8 + scales * kScaleBytes;
}

double conversion_operations(double weights, const Precision& precision) {
  return precision.weights < 16 && precision.activations > 8 ? kConversion * weights : 0;
}

ForwardOperators forward_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                   const Precision& precision, const ForwardShape& shape) {
  check_precision(precision);
  check_shape(config, shape);
  return Builder(config, hardware, precision, shape).forward();
}

ForwardOperators drafting_layer_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                          const Precision& precision, const ForwardShape& shape) {
  check_precision(precision);
  check_shape(config, shape);
  return Builder(config, hardware, precision, shape).drafting_layer();
}

ForwardOperators medusa_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                  const Precision& precision, double batch, int heads) {
  check_precision(precision);
  const ForwardShape shape{.batch = batch};
  check_shape(config, shape);
  return Builder(config, hardware, precision, shape).medusa_heads(heads);
}

double generation_seconds(const formats::ModelConfig& config, const Hardware& hardware, const Precision& precision,
                          int prompt, int output, const ForwardShape& shape) {
  ForwardShape forward = shape;
  forward.context = 0;
  forward.rows = prompt;
  forward.tree.clear();
  forward.logit_rows = 1;
  double seconds = forward_operators(config, hardware, precision, forward).seconds;
  forward.rows = 1;
  for (int token = 1; token < output; ++token) {
    forward.context = prompt + token - 1;
    seconds += forward_operators(config, hardware, precision, forward).seconds;
  }
  return seconds;
}

double parameters_of(const formats::ModelConfig& config, bool active) {
  // With 16 bits every number is two bytes, and one token touches the experts that it is sent to.
  const Hardware any{.name = "any", .source = "", .bandwidth = 1, .peak = {.fp16 = 1}};
  const OperatorWork total = forward_operators(config, any, {}, {}).total;
  if (!active) return total.stored_weight / 2;
  const double looked_up = config.position == formats::PositionKind::Learned ? 2 : 1;
  return total.load_weight / 2 - looked_up * config.hidden_size;
}

}  // namespace foretell::cost::operators
