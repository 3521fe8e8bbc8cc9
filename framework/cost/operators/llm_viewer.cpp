#include "framework/cost/operators/llm_viewer.h"

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"
#include "framework/cost/operators/forward_operators.h"

namespace foretell::cost::operators {
namespace {

using Q = LlmViewerQuirks;
constexpr QuirkName kQuirks[] = {
    {"fused_output_is_square", &Q::fused_output_is_square, "fused attention stores a number a pair of tokens, twice"},
    {"fused_cache_ignores_groups", &Q::fused_cache_ignores_groups, "fused attention reads keys for each query head"},
    {"prefill_query_of_kv_heads", &Q::prefill_query_of_kv_heads, "a prefill's qk_matmul loads queries of kv heads"},
    {"activation_of_hidden_size", &Q::activation_of_hidden_size, "mlp_act is as wide as the residual stream"},
    {"head_one_operation", &Q::head_one_operation, "the head does one operation a weight"},
    {"head_activations_of_one", &Q::head_activations_of_one, "the head's activations are those of one sequence"},
    {"attends_to_the_future", &Q::attends_to_the_future, "a prefill has no causal mask"},
    {"decode_without_new_token", &Q::decode_without_new_token, "a new token does not attend to itself"},
    {"norm_of_seven", &Q::norm_of_seven, "an RMSNorm does the operations of a LayerNorm"},
    {"addition_of_one", &Q::addition_of_one, "a residual addition loads one summand"},
    {"no_small_operators", &Q::no_small_operators, "no embedding, RoPE or last norm; norms without weights"},
    {"no_scales", &Q::no_scales, "quantised weights have no scales and no conversion, the head is quantised"},
    {"head_size_of_hidden", &Q::head_size_of_hidden, "head_dim is hidden_size / heads"},
    {"integers_only_throughout", &Q::integers_only_throughout, "int8 only if weights, activations and cache have it"},
    {"memory_of_layers", &Q::memory_of_layers, "memory without embedding and head, with all activations of a layer"},
    {"one_step_too_many", &Q::one_step_too_many, "G tokens take G steps behind the prefill"},
};

void check_known(const formats::ModelConfig& config) {
  const char* other = config.moe.experts > 0 ? "a mixture of experts"
                      : config.latent        ? "latent attention"
                      : !config.gated_mlp    ? "an MLP without a gate"
                                             : nullptr;
  if (other)
    fail("rules llm-viewer describe none of {}'s layers: it has {}; use --rules foretell", config.family, other);
}

class Viewer {
 public:
  Viewer(const formats::ModelConfig& config, const Hardware& hardware, Stage stage, const LlmViewerCase& of,
         const LlmViewerQuirks& quirks)
      : config_(config), hardware_(hardware), of_(of), on_(quirks), decodes_(stage == Stage::Decode) {
    check_precision(of.precision);
    check_known(config);
    queries_ = decodes_ ? 1 : of.tokens;
    keys_ = of.tokens + (decodes_ && !on_.decode_without_new_token ? 1 : 0);
    rows_ = of.batch * queries_;
    hidden_ = config.hidden_size;
    heads_ = config.num_heads;
    kv_heads_ = config.num_kv_heads;
    head_size_ = on_.head_size_of_hidden ? std::floor(hidden_ / heads_) : config.head_dim;
    act_ = of.precision.activations / 8.0;
    cache_ = of.precision.cache / 8.0;
    wide_ = wide_bits(of.precision) / 8.0;
  }

  ForwardOperators forward() {
    layers_ = config_.num_layers;
    projections();
    of_.fused ? fused_attention() : attention();
    small_operators();
    layers_ = 1;
    if (!on_.no_small_operators) surroundings();
    const std::vector<OperatorCost> layers = costs_;
    head();
    ForwardOperators all = summed(std::move(costs_));
    on_.memory_of_layers ? memory_of_layers(summed(layers), all) : memory_of_all(all);
    return all;
  }

 private:
  OperatorWork base(const char* name) const { return {.name = name, .layers = layers_}; }

  // `bits` are those of the wider factor, where that decides.
  void add(OperatorWork work, int bits) {
    const Precision& p = of_.precision;
    if (on_.integers_only_throughout) bits = std::max({p.weights, p.activations, p.cache}) <= 8 ? 8 : 16;
    work.bits = bits;
    costs_.push_back(on_roofline(std::move(work), hardware_.peak_of(bits), {.bandwidth = hardware_.bandwidth}));
  }
  int elementwise_bits() const { return std::max(16, of_.precision.activations); }
  int attention_bits() const { return std::max(of_.precision.activations, of_.precision.cache); }

  OperatorWork matrix(const char* name, double inputs, double outputs) const {
    OperatorWork work = base(name);
    work.operations = 2 * inputs * outputs * rows_;
    work.load_weight = inputs * outputs * of_.precision.weights / 8;
    if (!on_.no_scales) {
      work.operations += conversion_operations(inputs * outputs, of_.precision);
      work.load_weight = matrix_bytes(inputs, outputs, of_.precision.weights);
    }
    work.stored_weight = work.load_weight;
    work.load_act = inputs * rows_ * act_;
    work.store_act = outputs * rows_ * act_;
    return work;
  }

  void add_matrix(OperatorWork work) {
    add(std::move(work), std::max(of_.precision.weights, of_.precision.activations));
  }

  // As wide as LLM-Viewer takes them; what is not its rule is the config's.
  void projections() {
    const double query = on_.head_size_of_hidden ? hidden_ : heads_ * head_size_;
    const double key = on_.head_size_of_hidden ? hidden_ * kv_heads_ / heads_ : kv_heads_ * head_size_;
    const double middle = config_.intermediate_size;
    add_matrix(matrix("q_proj", hidden_, query));
    for (const char* name : {"k_proj", "v_proj"}) {
      OperatorWork work = matrix(name, hidden_, key);
      // Keys are rotated before they are kept.
      if (name[0] == 'v' || on_.no_small_operators) {
        work.store_act = 0;
        work.store_kv_cache = key * rows_ * cache_;
      }
      add_matrix(std::move(work));
    }
    add_matrix(matrix("out_proj", query, hidden_));
    add_matrix(matrix("gate_proj", hidden_, middle));
    add_matrix(matrix("up_proj", hidden_, middle));
    add_matrix(matrix("down_proj", middle, hidden_));
  }

  bool is_causal() const { return !decodes_ && !on_.attends_to_the_future; }
  // Of a head: queries and keys that meet.
  double pairs() const { return is_causal() ? queries_ * (queries_ + 1) / 2 : queries_ * keys_; }
  double scores() const { return 2 * pairs() * head_size_ * heads_ * of_.batch; }
  double softmax() const { return 5 * of_.batch * heads_ * pairs(); }
  double query_bytes() const { return rows_ * heads_ * head_size_ * act_; }

  void attention() {
    const double square = pairs() * of_.batch * heads_ * act_;
    const double cached = keys_ * head_size_ * of_.batch * kv_heads_ * cache_;
    OperatorWork qk = base("qk_matmul"), sv = base("sv_matmul"), soft = base("softmax");
    qk.operations = sv.operations = scores();
    qk.load_act = query_bytes();
    if (!decodes_ && on_.prefill_query_of_kv_heads) qk.load_act *= kv_heads_ / heads_;
    qk.store_act = sv.load_act = soft.load_act = soft.store_act = square;
    qk.load_kv_cache = sv.load_kv_cache = cached;
    sv.store_act = query_bytes();
    soft.operations = softmax();
    add(std::move(qk), attention_bits());
    add(std::move(sv), attention_bits());
    add(std::move(soft), elementwise_bits());
  }

  // Keys that are read for one of the heads that read them, all blocks of queries together.
  double keys_of_blocks() const {
    const double buffer = hardware_.needed_onchip_buffer("fused attention");
    const double block = std::min(std::ceil(buffer / (cache_ * head_size_)), head_size_);
    const double group = on_.fused_cache_ignores_groups ? 1 : heads_ / kv_heads_;
    const double length = std::max(1.0, std::floor(block / group));
    const double blocks = std::ceil(queries_ / length);
    const double repeats = std::max(1.0, std::ceil(group / block));
    if (!is_causal()) return repeats * blocks * keys_;
    double keys = 0;
    for (double i = 1; i <= blocks; ++i) keys += std::min(i * length, queries_);
    return repeats * keys;
  }

  void fused_attention() {
    const double readers = on_.fused_cache_ignores_groups ? heads_ : kv_heads_;
    OperatorWork work = base("fused_attention");
    work.operations = 2 * scores() + softmax();
    work.load_act = query_bytes();
    work.store_act = on_.fused_output_is_square ? 2 * queries_ * keys_ * of_.batch * heads_ * act_ : query_bytes();
    work.load_kv_cache = keys_of_blocks() * head_size_ * of_.batch * readers * cache_ * 2;
    add(std::move(work), attention_bits());
  }

  void elementwise(const char* name, double operations, double loaded, double stored, double weights = 0) {
    OperatorWork work = base(name);
    work.operations = operations;
    work.load_act = loaded * act_;
    work.store_act = stored * act_;
    work.load_weight = work.stored_weight = weights * wide_;
    add(std::move(work), elementwise_bits());
  }

  void norm(const char* name, double rows) {
    const double numbers = rows * hidden_;
    elementwise(name, (on_.norm_of_seven ? 7 : 4) * numbers, numbers, numbers, on_.no_small_operators ? 0 : hidden_);
  }

  void small_operators() {
    const double numbers = rows_ * hidden_;
    for (const char* name : {"attn_norm", "mlp_norm"}) norm(name, rows_);
    for (const char* name : {"attn_add", "mlp_add"})
      elementwise(name, numbers, (on_.addition_of_one ? 1 : 2) * numbers, numbers);
    const double middle = rows_ * config_.intermediate_size;
    on_.activation_of_hidden_size ? elementwise("mlp_act", 2 * numbers, 2 * numbers, numbers)
                                  : elementwise("mlp_act", 5 * middle, 2 * middle, middle);
    if (on_.no_small_operators) return;
    const double query = rows_ * heads_ * head_size_, key = rows_ * kv_heads_ * head_size_;
    OperatorWork rope = base("rope");
    rope.operations = 3 * (query + key);
    rope.load_act = (query + key) * act_;
    rope.store_act = query * act_;
    rope.store_kv_cache = key * cache_;
    add(std::move(rope), elementwise_bits());
  }

  void surroundings() {
    OperatorWork work = base("embedding");
    work.load_weight = std::min(rows_, double{1} * config_.vocab_rows()) * hidden_ * wide_;
    work.stored_weight = hidden_ * config_.vocab_rows() * wide_;
    work.store_act = rows_ * hidden_ * act_;
    add(std::move(work), elementwise_bits());
    norm("final_norm", of_.batch);
  }

  void head() {
    const double weights = hidden_ * config_.vocab_rows();
    const double rows = on_.head_activations_of_one ? 1 : of_.batch;
    OperatorWork work = base("lm_head");
    work.operations = (on_.head_one_operation ? 1 : 2) * weights * of_.batch;
    work.load_weight = on_.no_scales ? weights * of_.precision.weights / 8 : weights * wide_;
    work.stored_weight = config_.tie_embeddings ? 0 : work.load_weight;
    work.load_act = hidden_ * rows * act_;
    work.store_act = config_.vocab_rows() * rows * act_;
    add(std::move(work),
        std::max(on_.no_scales ? of_.precision.weights : wide_bits(of_.precision), of_.precision.activations));
  }

  // Of the prompt's tokens, in either stage.
  void memory_of_layers(const ForwardOperators& layers, ForwardOperators& all) const {
    all.activation_bytes = layers.total.store_act / config_.num_layers;
    all.weight_bytes = layers.total.load_weight;
    const double key = on_.head_size_of_hidden ? hidden_ * kv_heads_ / heads_ : kv_heads_ * head_size_;
    all.cache_bytes = 2 * config_.num_layers * key * of_.batch * of_.tokens * cache_;
  }

  void memory_of_all(ForwardOperators& all) const {
    double widest = 0;
    for (const OperatorCost& cost : all.operators) widest = std::max(widest, cost.work.load_act + cost.work.store_act);
    all.activation_bytes = widest + rows_ * hidden_ * act_;
    all.weight_bytes = all.total.stored_weight;
    all.cache_bytes = 2 * config_.num_layers * kv_heads_ * head_size_ * of_.batch * keys_ * cache_;
  }

  const formats::ModelConfig& config_;
  const Hardware& hardware_;
  const LlmViewerCase& of_;
  const LlmViewerQuirks& on_;
  bool decodes_;
  double queries_ = 0, keys_ = 0, rows_ = 0, hidden_ = 0, heads_ = 0, kv_heads_ = 0, head_size_ = 0;
  double act_ = 0, cache_ = 0, wide_ = 0;
  int layers_ = 1;
  std::vector<OperatorCost> costs_;
};

}  // namespace

std::span<const QuirkName> llm_viewer_quirks() { return kQuirks; }

ForwardOperators llm_viewer_forward(const formats::ModelConfig& config, const Hardware& hardware, Stage stage,
                                    const LlmViewerCase& of, const LlmViewerQuirks& quirks) {
  return Viewer(config, hardware, stage, of, quirks).forward();
}

double llm_viewer_generation(const formats::ModelConfig& config, const Hardware& hardware, int prompt, int output,
                             const LlmViewerCase& of, const LlmViewerQuirks& quirks) {
  LlmViewerCase step = of;
  step.tokens = prompt;
  double seconds = llm_viewer_forward(config, hardware, Stage::Prefill, step, quirks).seconds;
  const int steps = output - (quirks.one_step_too_many ? 0 : 1);
  for (int i = 0; i < steps; ++i, ++step.tokens)
    seconds += llm_viewer_forward(config, hardware, Stage::Decode, step, quirks).seconds;
  return seconds;
}

}  // namespace foretell::cost::operators
