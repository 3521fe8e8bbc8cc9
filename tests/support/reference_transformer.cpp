#include "tests/support/reference_transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "framework/formats/model_weights.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

constexpr double kPi = 3.14159265358979323846;

bool is_gpt2(const ModelConfig& config) { return config.family == "gpt2"; }
bool is_neox(const ModelConfig& config) { return config.family == "gpt_neox"; }

std::string layer_stem(const ModelConfig& config, int layer) {
  const char* stem = is_gpt2(config) ? "transformer.h." : is_neox(config) ? "gpt_neox.layers." : "model.layers.";
  return stem + std::to_string(layer) + ".";
}

double value_of(const StoredTensor& tensor, std::size_t i) {
  if (tensor.type == StoredType::F32) {
    float value;
    std::memcpy(&value, tensor.bytes.data() + 4 * i, 4);
    return value;
  }
  if (tensor.type == StoredType::BF16) {
    std::uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, tensor.bytes.data() + 2 * i, 2);
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  if (tensor.type == StoredType::I8) return static_cast<double>(static_cast<signed char>(tensor.bytes[i]));
  if (tensor.type != StoredType::F16) throw std::runtime_error("the reference reads F32, F16, BF16 and I8");
  std::uint16_t bits;
  std::memcpy(&bits, tensor.bytes.data() + 2 * i, 2);
  const int exponent = (bits >> 10) & 31;
  const double fraction = (bits & 1023) / 1024.0;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return x / (1 + std::exp(-x));
    case Activation::Gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::GeluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / kPi) * (x + 0.044715 * x * x * x)));
    case Activation::Relu: return std::max(x, 0.0);
  }
  return x;
}

// The angle of one position for pair i of d / 2, and what cosine and sine are multiplied with.
std::pair<double, double> angle(const RopeConfig& rope, int d, int i, int position) {
  const double theta = std::pow(rope.theta, -2.0 * i / d);
  const double turns = rope.original_context * theta / (2 * kPi);  // within the original context
  switch (rope.scaling) {
    case RopeConfig::Scaling::None: return {position * theta, 1};
    case RopeConfig::Scaling::Linear: return {position / rope.factor * theta, 1};
    case RopeConfig::Scaling::Llama3: {
      const double keep =
          std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      return {position * theta * (keep + (1 - keep) / rope.factor), 1};
    }
    case RopeConfig::Scaling::LongRope: {
      const double share = 1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_context));
      return {position * theta / rope.short_factors[i],
              rope.attention_factor.value_or(rope.factor > 1 ? std::sqrt(share) : 1.0)};
    }
    case RopeConfig::Scaling::Yarn: break;
  }
  // The pair (a real number) that makes r turns: theta^(-2 i / d) = 2 pi r / L.
  const auto pair_with = [&](double r) {
    return -d / 2.0 * std::log(2 * kPi * r / rope.original_context) / std::log(rope.theta);
  };
  double from = pair_with(rope.beta_fast);
  double to = pair_with(rope.beta_slow);
  if (rope.truncate) from = std::floor(from), to = std::ceil(to);
  from = std::max(from, 0.0);
  to = std::min(to, d - 1.0);
  const double interpolate = std::clamp((i - from) / std::max(to - from, 0.001), 0.0, 1.0);
  double scale = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
  if (rope.mscale.value_or(0) > 0 && rope.mscale_all_dim.value_or(0) > 0 && rope.factor > 1) {
    scale = (0.1 * *rope.mscale * std::log(rope.factor) + 1) / (0.1 * *rope.mscale_all_dim * std::log(rope.factor) + 1);
  }
  if (rope.attention_factor) scale = *rope.attention_factor;
  return {position * theta * (1 - interpolate + interpolate / rope.factor), scale};
}

double dot(const double* a, const double* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// x / (|x| sqrt(n)), rounded to steps of its largest element / 127.
std::vector<double> quantised(const std::vector<double>& x) {
  double square = 0, largest = 0;
  for (const double v : x) square += v * v;
  std::vector<double> y = x;
  for (double& v : y) {
    v /= std::max(std::sqrt(square), 1e-12) * std::sqrt(static_cast<double>(x.size()));
    largest = std::max(largest, std::fabs(v));
  }
  const double steps = 127 / std::max(largest, 1e-5);
  for (double& v : y) v = std::clamp(std::nearbyint(v * steps), -128.0, 127.0) / steps;
  return y;
}

}  // namespace

ReferenceTransformer::ReferenceTransformer(const std::filesystem::path& folder) : config_(load_stored_config(folder)) {
  const Checkpoint checkpoint = Checkpoint::open(folder);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    Matrix matrix{1, static_cast<int>(tensor.shape.back()), {}};
    if (tensor.shape.size() == 2) matrix.rows = static_cast<int>(tensor.shape[0]);
    for (std::size_t i = 0; i < static_cast<std::size_t>(matrix.rows) * matrix.columns; ++i)
      matrix.values.push_back(value_of(tensor, i));
    weights_[name] = std::move(matrix);
  }
}

const ReferenceTransformer::Matrix& ReferenceTransformer::matrix(const std::string& name) const {
  const auto it = weights_.find(name);
  if (it == weights_.end()) throw std::runtime_error("the reference misses " + name);
  return it->second;
}

ReferenceTransformer::Vector ReferenceTransformer::times(const std::string& stem, const Vector& given) const {
  const Matrix& w = matrix(stem + ".weight");
  const bool ternary = has(stem + ".weight_scale");
  const Vector x = ternary ? quantised(given) : given;
  const bool turned = is_gpt2(config_) && stem.find(".h.") != std::string::npos;  // GPT-2 stores [input, output]
  const int outputs = turned ? w.columns : w.rows;
  const int inputs = turned ? w.rows : w.columns;
  Vector y(outputs, 0.0);
  for (int o = 0; o < outputs; ++o) {
    for (int i = 0; i < inputs; ++i)
      y[o] += x[i] *
              w.values[turned ? static_cast<std::size_t>(i) * outputs + o : static_cast<std::size_t>(o) * inputs + i];
    if (ternary) y[o] *= matrix(stem + ".weight_scale").values[0];
    if (has(stem + ".bias")) y[o] += matrix(stem + ".bias").values[o];
  }
  return y;
}

ReferenceTransformer::Vector ReferenceTransformer::norm(const std::string& stem, const Vector& x,
                                                        std::optional<double> eps) const {
  if (!has(stem + ".weight")) return x;
  const double n = static_cast<double>(x.size());
  double mean = 0;
  if (config_.norm == NormKind::Layer) {
    for (const double v : x) mean += v / n;
  }
  double square = 0;
  for (const double v : x) square += (v - mean) * (v - mean) / n;
  Vector y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(square + eps.value_or(config_.norm_eps)) * matrix(stem + ".weight").values[i];
    if (has(stem + ".bias")) y[i] += matrix(stem + ".bias").values[i];
  }
  return y;
}

// The last `d` elements of a head whose first ones stay, or the first `d` of one whose last ones do.
void ReferenceTransformer::rotate(Vector& head, int position) const {
  if (config_.position != PositionKind::Rope) return;
  const int d = config_.latent ? config_.latent->rotary_dim : static_cast<int>(config_.head_dim * config_.rope.partial);
  double* part = head.data() + (config_.latent ? head.size() - d : 0);
  for (int i = 0; i < d / 2; ++i) {
    const auto [turn, scale] = angle(config_.rope, d, i, position);
    double& a = part[config_.rope.interleaved ? 2 * i : i];
    double& b = part[config_.rope.interleaved ? 2 * i + 1 : i + d / 2];
    const double c = std::cos(turn) * scale;
    const double s = std::sin(turn) * scale;
    const double turned = a * c - b * s;
    b = a * s + b * c;
    a = turned;
  }
}

ReferenceTransformer::Heads ReferenceTransformer::project(const std::string& stem, const Vector& x) const {
  const int d = config_.head_dim;
  Heads heads;
  const auto split = [d](const Vector& row, std::size_t from, int count) {
    std::vector<Vector> parts;
    for (int h = 0; h < count; ++h)
      parts.emplace_back(row.begin() + static_cast<std::ptrdiff_t>(from) + h * d,
                         row.begin() + static_cast<std::ptrdiff_t>(from) + (h + 1) * d);
    return parts;
  };
  if (is_neox(config_)) {
    const std::vector<Vector> parts = split(times(stem + "query_key_value", x), 0, 3 * config_.num_heads);
    for (int h = 0; h < config_.num_heads; ++h) {
      heads.q.push_back(parts[3 * h]);
      heads.k.push_back(parts[3 * h + 1]);
      heads.v.push_back(parts[3 * h + 2]);
    }
    return heads;
  }
  Vector all;
  if (is_gpt2(config_) || config_.family == "phi3") {
    all = times(stem + (is_gpt2(config_) ? "c_attn" : "qkv_proj"), x);
  } else {
    for (const char* part : {"q", "k", "v"}) {
      Vector y = times(stem + part + "_proj", x);
      if (config_.qk_norm == QkNorm::Projection) y = norm(stem + part + "_norm", y);
      if (config_.qkv_limit) {
        for (double& value : y) value = std::clamp(value, -*config_.qkv_limit, *config_.qkv_limit);
      }
      all.insert(all.end(), y.begin(), y.end());
    }
  }
  const std::size_t queries = static_cast<std::size_t>(config_.num_heads) * d,
                    keys = static_cast<std::size_t>(config_.num_kv_heads) * d;
  heads.q = split(all, 0, config_.num_heads);
  heads.k = split(all, queries, config_.num_kv_heads);
  heads.v = split(all, queries + keys, config_.num_kv_heads);
  if (config_.qk_norm == QkNorm::Head) {
    for (Vector& head : heads.q) head = norm(stem + "q_norm", head);
    for (Vector& head : heads.k) head = norm(stem + "k_norm", head);
  }
  return heads;
}

// DeepSeek-AI 2024, arXiv 2405.04434, equations 9 to 13 and 14 to 19, with the released model's norms on both latent
// rows.
ReferenceTransformer::Heads ReferenceTransformer::project_latent(const std::string& stem, const Vector& x) const {
  const LatentConfig& latent = *config_.latent;
  const Vector q = latent.query_rank == 0
                       ? times(stem + "q_proj", x)
                       : times(stem + "q_b_proj", norm(stem + "q_a_layernorm", times(stem + "q_a_proj", x), 1e-6));
  const Vector both = times(stem + "kv_a_proj_with_mqa", x);
  const Vector shared(both.begin() + latent.kv_rank, both.end());
  const Vector kv = times(stem + "kv_b_proj",
                          norm(stem + "kv_a_layernorm", Vector(both.begin(), both.begin() + latent.kv_rank), 1e-6));
  Heads heads;
  const int width = latent.plain_dim + latent.value_dim;
  for (int h = 0; h < config_.num_heads; ++h) {
    heads.q.emplace_back(q.begin() + h * config_.head_dim, q.begin() + (h + 1) * config_.head_dim);
    Vector key(kv.begin() + h * width, kv.begin() + h * width + latent.plain_dim);
    key.insert(key.end(), shared.begin(), shared.end());
    heads.k.push_back(key);
    heads.v.emplace_back(kv.begin() + h * width + latent.plain_dim, kv.begin() + (h + 1) * width);
  }
  return heads;
}

std::vector<ReferenceTransformer::Vector> ReferenceTransformer::attention(int layer, const std::vector<Vector>& x,
                                                                          const Options& options,
                                                                          std::vector<Heads>& last) const {
  const int rows = static_cast<int>(x.size());
  const auto has_left = [&](int row) { return !options.exits.empty() && options.exits[row] <= layer; };
  const std::string stem = layer_stem(config_, layer) + (is_gpt2(config_)   ? "attn."
                                                         : is_neox(config_) ? "attention."
                                                                            : "self_attn.");
  std::vector<Heads> projected;
  for (int row = 0; row < rows; ++row) {
    projected.push_back(config_.latent ? project_latent(stem, x[row]) : project(stem, x[row]));
    for (Vector& head : projected[row].q) rotate(head, options.positions[row]);
    for (Vector& head : projected[row].k) rotate(head, options.positions[row]);
    if (has_left(row) && options.kv == KvRule::Copy) projected[row] = last[row];
  }
  last = projected;
  double scale = config_.attention_scaled ? 1 / std::sqrt(config_.head_dim) : 1;
  if (config_.attention_scaled_by_layer) scale /= layer + 1;
  const RopeConfig& rope = config_.rope;
  if (config_.latent && rope.scaling == RopeConfig::Scaling::Yarn && rope.factor > 1)
    scale *= std::pow(0.1 * rope.mscale_all_dim.value_or(0) * std::log(rope.factor) + 1, 2);
  const bool windowed =
      config_.sliding_window > 0 && std::ranges::find(config_.full_layers, layer) == config_.full_layers.end();
  std::vector<Vector> out;
  for (int row = 0; row < rows; ++row) {
    Vector joined;
    for (int h = 0; h < config_.num_heads; ++h) {
      const int shared = h * config_.num_kv_heads / config_.num_heads;
      Vector weights(rows, 0.0);
      double sum = 0;
      for (int column = 0; column < rows; ++column) {
        if (!options.visible(row, column)) continue;
        if (options.kv == KvRule::Hole && has_left(column)) continue;
        if (windowed && options.positions[row] - options.positions[column] >= config_.sliding_window) continue;
        weights[column] =
            std::exp(scale * dot(projected[row].q[h].data(), projected[column].k[shared].data(), config_.head_dim));
        sum += weights[column];
      }
      Vector mixed(projected[row].v[shared].size(), 0.0);
      for (int column = 0; column < rows; ++column) {
        for (std::size_t i = 0; i < mixed.size(); ++i)
          mixed[i] += weights[column] / sum * projected[column].v[shared][i];
      }
      joined.insert(joined.end(), mixed.begin(), mixed.end());
    }
    out.push_back(times(stem + (is_gpt2(config_) ? "c_proj" : is_neox(config_) ? "dense" : "o_proj"), joined));
  }
  return out;
}

ReferenceTransformer::Vector ReferenceTransformer::gated(const std::string& stem, const Vector& x,
                                                         const std::array<const char*, 3>& names) const {
  Vector gate = times(stem + names[0], x);
  const Vector up = times(stem + names[1], x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = activated(gate[i], config_.activation) * up[i];
  return times(stem + names[2], gate);
}

// Each expert's weight, 0 for those that were not chosen: by asking of every expert how many come before it.
ReferenceTransformer::Vector ReferenceTransformer::expert_weights(const std::string& block, const Vector& x) const {
  const MoeConfig& moe = config_.moe;
  Vector score = times(block + "gate", x);
  double sum = 0;
  for (double& s : score) s = moe.score == MoeConfig::Score::Sigmoid ? 1 / (1 + std::exp(-s)) : std::exp(s);
  for (const double s : score) sum += s;
  if (moe.score == MoeConfig::Score::Softmax) {
    for (double& s : score) s /= sum;
  }
  Vector wanted = score;
  if (has(block + "gate.e_score_correction_bias")) {
    for (std::size_t i = 0; i < wanted.size(); ++i)
      wanted[i] += matrix(block + "gate.e_score_correction_bias").values[i];
  }
  const auto rank_in = [](const Vector& values, std::size_t i) {
    int rank = 0;
    for (std::size_t j = 0; j < values.size(); ++j) rank += values[j] > values[i] || (values[j] == values[i] && j < i);
    return rank;
  };
  const std::size_t size = wanted.size() / static_cast<std::size_t>(moe.groups);
  Vector groups;
  for (int g = 0; g < moe.groups; ++g) {
    Vector members(wanted.begin() + static_cast<std::ptrdiff_t>(g * size),
                   wanted.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::ranges::sort(members, std::greater());
    groups.push_back(members[0] + (size > 1 ? members[1] : 0));
  }
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (moe.groups > 1 && rank_in(groups, i / size) >= moe.groups_kept) wanted[i] = -1e300;
  Vector weights(score.size(), 0.0);
  double chosen = 0;
  for (std::size_t i = 0; i < score.size(); ++i) {
    if (rank_in(wanted, i) < moe.experts_per_token) chosen += weights[i] = score[i];
  }
  for (double& w : weights) w *= moe.scale / (moe.normalised ? chosen : 1);
  return weights;
}

ReferenceTransformer::Vector ReferenceTransformer::mlp(int layer, const Vector& x) const {
  const std::string stem = layer_stem(config_, layer);
  if (is_gpt2(config_) || is_neox(config_)) {
    Vector y = times(stem + (is_gpt2(config_) ? "mlp.c_fc" : "mlp.dense_h_to_4h"), x);
    for (double& value : y) value = activated(value, config_.activation);
    return times(stem + (is_gpt2(config_) ? "mlp.c_proj" : "mlp.dense_4h_to_h"), y);
  }
  if (config_.family == "phi3") {
    const Vector both = times(stem + "mlp.gate_up_proj", x);
    Vector y(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(both.size() / 2));
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = activated(y[i], config_.activation) * both[y.size() + i];
    return times(stem + "mlp.down_proj", y);
  }
  const std::array<const char*, 3> usual = {"gate_proj", "up_proj", "down_proj"};
  const bool mixtral = config_.family == "mixtral";
  const std::string block = stem + (mixtral ? "block_sparse_moe." : "mlp.");
  if (!has(block + "gate.weight")) return gated(block, x, usual);
  const Vector weights = expert_weights(block, x);
  Vector y(x.size(), 0.0);
  const auto add = [&](const Vector& more, double weight) {
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += weight * more[i];
  };
  for (std::size_t e = 0; e < weights.size(); ++e) {
    const std::string expert = block + "experts." + std::to_string(e) + ".";
    if (weights[e] != 0)
      add(gated(expert, x, mixtral ? std::array<const char*, 3>{"w1", "w3", "w2"} : usual), weights[e]);
  }
  if (has(block + "shared_expert.up_proj.weight"))
    add(gated(block + "shared_expert.", x, usual), 1 / (1 + std::exp(-times(block + "shared_expert_gate", x)[0])));
  if (has(block + "shared_experts.up_proj.weight")) add(gated(block + "shared_experts.", x, usual), 1);
  return y;
}

std::vector<std::vector<double>> ReferenceTransformer::logits(TokenSpan tokens, const Options& given) const {
  Options options = given;
  const int rows = static_cast<int>(tokens.size());
  for (int row = static_cast<int>(options.positions.size()); row < rows; ++row) options.positions.push_back(row);
  if (!options.visible) options.visible = [](int row, int column) { return column <= row; };

  const bool gpt2 = is_gpt2(config_);
  const bool neox = is_neox(config_);
  const std::string table = gpt2 ? "transformer.wte" : neox ? "gpt_neox.embed_in" : "model.embed_tokens";
  const auto row_of = [&](const std::string& name, int row) {
    const Matrix& m = matrix(name);
    return Vector(m.values.begin() + static_cast<std::ptrdiff_t>(row) * m.columns,
                  m.values.begin() + static_cast<std::ptrdiff_t>(row + 1) * m.columns);
  };
  const auto add = [](Vector& to, const Vector& what) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += what[i];
  };
  std::vector<Vector> x;
  for (int row = 0; row < rows; ++row) {
    x.push_back(row_of(table + ".weight", tokens[row]));
    if (gpt2) add(x.back(), row_of("transformer.wpe.weight", options.positions[row]));
  }
  std::vector<Heads> last;
  std::vector<Vector> left(x.size());  // the states that rows left with
  const bool goes_on = options.kv == KvRule::Recompute;
  const auto at_work = [&](int row, int layer) {
    return goes_on || options.exits.empty() || options.exits[row] > layer;
  };
  for (int layer = 0; layer < options.layers.value_or(config_.num_layers); ++layer) {
    for (int row = 0; row < rows; ++row)
      if (!options.exits.empty() && options.exits[row] == layer) left[row] = x[row];
    const std::string stem = layer_stem(config_, layer);
    const auto normed = [&](const char* name) {
      std::vector<Vector> y;
      for (const Vector& row : x) y.push_back(norm(stem + name, row));
      return y;
    };
    const bool beside = neox && config_.parallel_residual;
    const auto before = beside ? normed("post_attention_layernorm") : std::vector<Vector>();
    if (!options.computed || options.computed->attention(layer)) {
      const auto mixed = attention(layer, normed(gpt2 ? "ln_1" : "input_layernorm"), options, last);
      for (int row = 0; row < rows; ++row)
        if (at_work(row, layer)) add(x[row], mixed[row]);
    }
    if (!options.computed || options.computed->mlp(layer)) {
      const auto y = beside ? before : normed(gpt2 ? "ln_2" : "post_attention_layernorm");
      for (int row = 0; row < rows; ++row)
        if (at_work(row, layer)) add(x[row], mlp(layer, y[row]));
    }
  }
  for (int row = 0; row < rows; ++row)
    if (!left[row].empty()) x[row] = left[row];
  std::vector<Vector> logits;
  const char* final_norm = gpt2 ? "transformer.ln_f" : neox ? "gpt_neox.final_layer_norm" : "model.norm";
  const std::string head = config_.tie_embeddings ? table : neox ? "embed_out" : "lm_head";
  for (const Vector& row : x) logits.push_back(times(head, norm(final_norm, row)));
  return logits;
}

}  // namespace foretell::testing
