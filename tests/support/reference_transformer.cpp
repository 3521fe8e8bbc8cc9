#include "tests/support/reference_transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "framework/model/files/safetensors.h"

namespace foretell::testing {
namespace {

constexpr double kPi = 3.14159265358979323846;

bool is_gpt2(const ModelConfig& config) { return config.family == "gpt2"; }

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
      const double keep = std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      return {position * theta * (keep + (1 - keep) / rope.factor), 1};
    }
    case RopeConfig::Scaling::Yarn: break;
  }
  // The pair (a real number) that makes r turns: theta^(-2 i / d) = 2 pi r / L.
  const auto pair_with = [&](double r) { return -d / 2.0 * std::log(2 * kPi * r / rope.original_context) / std::log(rope.theta); };
  double from = pair_with(rope.beta_fast);
  double to = pair_with(rope.beta_slow);
  if (rope.truncate) from = std::floor(from), to = std::ceil(to);
  from = std::max(from, 0.0);
  to = std::min(to, d - 1.0);
  const double interpolate = std::clamp((i - from) / std::max(to - from, 0.001), 0.0, 1.0);
  double scale = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
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

ReferenceTransformer::ReferenceTransformer(const std::filesystem::path& folder) : config_(load_model_config(folder)) {
  const Checkpoint checkpoint = Checkpoint::open(folder);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    Matrix matrix{1, static_cast<int>(tensor.shape.back()), {}};
    if (tensor.shape.size() == 2) matrix.rows = static_cast<int>(tensor.shape[0]);
    for (std::size_t i = 0; i < static_cast<std::size_t>(matrix.rows) * matrix.columns; ++i) matrix.values.push_back(value_of(tensor, i));
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
      y[o] += x[i] * w.values[turned ? static_cast<std::size_t>(i) * outputs + o : static_cast<std::size_t>(o) * inputs + i];
    if (ternary) y[o] *= matrix(stem + ".weight_scale").values[0];
    if (has(stem + ".bias")) y[o] += matrix(stem + ".bias").values[o];
  }
  return y;
}

ReferenceTransformer::Vector ReferenceTransformer::norm(const std::string& stem, const Vector& x) const {
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
    y[i] = (x[i] - mean) / std::sqrt(square + config_.norm_eps) * matrix(stem + ".weight").values[i];
    if (has(stem + ".bias")) y[i] += matrix(stem + ".bias").values[i];
  }
  return y;
}

void ReferenceTransformer::rotate(Vector& head, int position) const {
  if (config_.position != PositionKind::Rope) return;
  const int d = static_cast<int>(config_.head_dim * config_.rope.partial);
  for (int i = 0; i < d / 2; ++i) {
    const auto [turn, scale] = angle(config_.rope, d, i, position);
    double& a = head[config_.rope.interleaved ? 2 * i : i];
    double& b = head[config_.rope.interleaved ? 2 * i + 1 : i + d / 2];
    const double c = std::cos(turn) * scale;
    const double s = std::sin(turn) * scale;
    const double turned = a * c - b * s;
    b = a * s + b * c;
    a = turned;
  }
}

std::vector<ReferenceTransformer::Vector> ReferenceTransformer::attention(int layer, const std::vector<Vector>& x,
                                                                          const Options& options) const {
  const int d = config_.head_dim;
  const int rows = static_cast<int>(x.size());
  const std::string stem =
      is_gpt2(config_) ? "transformer.h." + std::to_string(layer) + ".attn." : "model.layers." + std::to_string(layer) + ".self_attn.";
  std::vector<std::vector<Vector>> q(rows), k(rows), v(rows);
  for (int row = 0; row < rows; ++row) {
    Vector all;
    if (is_gpt2(config_)) {
      all = times(stem + "c_attn", x[row]);
    } else {
      for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
        const Vector y = times(stem + part, x[row]);
        all.insert(all.end(), y.begin(), y.end());
      }
    }
    auto at = all.begin();
    const auto take = [&](std::vector<Vector>& heads, int count, bool turned) {
      for (int h = 0; h < count; ++h, at += d) {
        heads.emplace_back(at, at + d);
        if (turned) rotate(heads.back(), options.positions[row]);
      }
    };
    take(q[row], config_.num_heads, true);
    take(k[row], config_.num_kv_heads, true);
    take(v[row], config_.num_kv_heads, false);
  }
  double scale = config_.attention_scaled ? 1 / std::sqrt(d) : 1;
  if (config_.attention_scaled_by_layer) scale /= layer + 1;
  std::vector<Vector> out;
  for (int row = 0; row < rows; ++row) {
    Vector joined;
    for (int h = 0; h < config_.num_heads; ++h) {
      const int shared = h * config_.num_kv_heads / config_.num_heads;
      Vector weights(rows, 0.0);
      double sum = 0;
      for (int column = 0; column < rows; ++column) {
        if (!options.visible(row, column)) continue;
        weights[column] = std::exp(scale * dot(q[row][h].data(), k[column][shared].data(), d));
        sum += weights[column];
      }
      Vector mixed(d, 0.0);
      for (int column = 0; column < rows; ++column) {
        for (int i = 0; i < d; ++i) mixed[i] += weights[column] / sum * v[column][shared][i];
      }
      joined.insert(joined.end(), mixed.begin(), mixed.end());
    }
    out.push_back(times(stem + (is_gpt2(config_) ? "c_proj" : "o_proj"), joined));
  }
  return out;
}

ReferenceTransformer::Vector ReferenceTransformer::mlp(int layer, const Vector& x) const {
  if (is_gpt2(config_)) {
    const std::string stem = "transformer.h." + std::to_string(layer) + ".mlp.";
    Vector y = times(stem + "c_fc", x);
    for (double& value : y) value = activated(value, config_.activation);
    return times(stem + "c_proj", y);
  }
  const std::string stem = "model.layers." + std::to_string(layer) + ".mlp.";
  Vector gate = times(stem + "gate_proj", x);
  const Vector up = times(stem + "up_proj", x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = activated(gate[i], config_.activation) * up[i];
  return times(stem + "down_proj", gate);
}

std::vector<std::vector<double>> ReferenceTransformer::logits(TokenSpan tokens, const Options& given) const {
  Options options = given;
  const int rows = static_cast<int>(tokens.size());
  for (int row = static_cast<int>(options.positions.size()); row < rows; ++row) options.positions.push_back(row);
  if (!options.visible) options.visible = [](int row, int column) { return column <= row; };

  const bool gpt2 = is_gpt2(config_);
  const std::string table = gpt2 ? "transformer.wte" : "model.embed_tokens";
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
  for (int layer = 0; layer < options.layers.value_or(config_.num_layers); ++layer) {
    const std::string stem = gpt2 ? "transformer.h." + std::to_string(layer) + "." : "model.layers." + std::to_string(layer) + ".";
    const auto normed = [&](const char* name) {
      std::vector<Vector> y;
      for (const Vector& row : x) y.push_back(norm(stem + name, row));
      return y;
    };
    if (!options.computed || options.computed->attention(layer)) {
      const auto mixed = attention(layer, normed(gpt2 ? "ln_1" : "input_layernorm"), options);
      for (int row = 0; row < rows; ++row) add(x[row], mixed[row]);
    }
    if (!options.computed || options.computed->mlp(layer)) {
      const auto y = normed(gpt2 ? "ln_2" : "post_attention_layernorm");
      for (int row = 0; row < rows; ++row) add(x[row], mlp(layer, y[row]));
    }
  }
  std::vector<Vector> logits;
  for (const Vector& row : x)
    logits.push_back(times(config_.tie_embeddings ? table : "lm_head", norm(gpt2 ? "transformer.ln_f" : "model.norm", row)));
  return logits;
}

}  // namespace foretell::testing
