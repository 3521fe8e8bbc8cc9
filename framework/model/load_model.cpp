#include "framework/model/load_model.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <charconv>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/model_weights.h"
#include "framework/kernels/worker_threads.h"
#include "framework/model/transformer.h"

namespace foretell::model {
namespace {

std::optional<at::ScalarType> scalar_type(formats::StoredType type) {
  switch (type) {
    case formats::StoredType::F32: return at::kFloat;
    case formats::StoredType::F16: return at::kHalf;
    case formats::StoredType::BF16: return at::kBFloat16;
    case formats::StoredType::F64: return at::kDouble;
    case formats::StoredType::I8: return at::kChar;
    default: return std::nullopt;
  }
}

// The tensors of a checkpoint as ATen's.
class WeightSource {
 public:
  WeightSource(std::shared_ptr<const formats::Checkpoint> checkpoint, const formats::ModelConfig& config,
               at::ScalarType dtype, at::Device device)
      : checkpoint_(std::move(checkpoint)),
        weights_(*checkpoint_, config, formats::ModelWeights::Int4::Read),
        naming_(config.naming),
        dtype_(dtype),
        device_(device) {}

  // In the model's type; undefined if the config has no such tensor.
  at::Tensor get(const std::string& name) const {
    const at::Tensor raw = get_raw(name);
    return raw.defined() ? raw.to(dtype_) : raw;
  }
  // As it is stored, and where: in the mapped file, which lives as long as the tensor does. Nobody writes to weights.
  // Copied only if it lies unaligned.
  at::Tensor get_raw(const std::string& name) const {
    const formats::StoredTensor* stored = weights_.find(name);
    if (stored == nullptr) return {};
    const at::TensorOptions options = at::TensorOptions().dtype(*scalar_type(stored->type));
    const std::byte* bytes = stored->bytes.data();
    if (reinterpret_cast<std::uintptr_t>(bytes) % options.dtype().itemsize() == 0)
      return at::from_blob(
          const_cast<std::byte*>(bytes), stored->shape, [held = checkpoint_](void*) {}, options);
    at::Tensor raw = at::empty(stored->shape, options);
    std::copy(stored->bytes.begin(), stored->bytes.end(), static_cast<std::byte*>(raw.mutable_data_ptr()));
    return raw;
  }
  at::Tensor layer(int layer, std::string_view part) const {
    return get(formats::layer_weight_name(naming_, layer, part));
  }
  at::Tensor layer_raw(int layer, std::string_view part) const {
    return get_raw(formats::layer_weight_name(naming_, layer, part));
  }
  // What a file with 4-bit weights has of a matrix; nothing if it is stored in another way.
  std::optional<formats::Int4Tensors> int4(int layer, const std::string& part,
                                           const formats::Int4Storage& storage) const {
    const std::string stem = formats::layer_weight_name(naming_, layer, part);
    const formats::StoredInt4* stored = weights_.find_int4(stem);
    if (!stored) return std::nullopt;
    return formats::read_int4(*stored, storage, stem, checkpoint_->name());
  }
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.defined() ? tensor.to(device_) : tensor; }

 private:
  std::shared_ptr<const formats::Checkpoint> checkpoint_;
  formats::ModelWeights weights_;
  formats::WeightNaming naming_;
  at::ScalarType dtype_;
  at::Device device_;
};

template <class T>
at::Tensor copy_of(const std::vector<T>& from, at::IntArrayRef shape, at::ScalarType type) {
  at::Tensor to = at::empty(shape, type);
  std::copy(from.begin(), from.end(), to.mutable_data_ptr<T>());
  return to;
}

kernels::Int4Values values_of(const formats::Int4Tensors& tensors) {
  const std::int64_t inputs = tensors.inputs, rows = static_cast<std::int64_t>(tensors.q.size()) / inputs;
  kernels::Int4Values values{.group = tensors.group};
  values.q = copy_of(tensors.q, {rows, inputs}, at::kByte);
  values.scales = copy_of(tensors.scales, {rows, inputs / tensors.group}, at::kFloat);
  values.zeros = copy_of(tensors.zeros, {rows, inputs / tensors.group}, at::kByte);
  if (!tensors.order.empty()) values.order = copy_of(tensors.order, {inputs}, at::kLong);
  return values;
}

class Loader {
 public:
  Loader(const WeightSource& source, const formats::ModelConfig& config, at::ScalarType dtype,
         const ModelLoadOptions& options)
      : source_(source), config_(config), dtype_(dtype), int8_(options.int8), int4_(options.int4) {}

  TransformerWeights load() const {
    const formats::WeightNames names = formats::weight_names(config_.naming);
    TransformerWeights weights;
    const at::Tensor embedding = source_.get(names.embedding);
    weights.embedding = source_.on_device(embedding);
    weights.positions = source_.on_device(source_.get("transformer.wpe.weight"));
    for (int layer = 0; layer < config_.num_layers; ++layer) weights.layers.push_back(load_layer(layer));
    weights.final_norm = norm(source_.get(fmt::format("{}.weight", names.final_norm)),
                              source_.get(fmt::format("{}.bias", names.final_norm)));
    weights.head =
        linear(config_.tie_embeddings ? embedding : source_.get(names.head), {}, {.int8 = int4_.has_value()});
    return weights;
  }

 private:
  using Stems = std::initializer_list<std::string>;

  LayerWeights load_layer(int layer) const {
    switch (config_.naming) {
      case formats::WeightNaming::Gpt2: return gpt2_layer(layer);
      case formats::WeightNaming::GptNeoX: return gpt_neox_layer(layer);
      default: return llama_layer(layer);
    }
  }

  // The matrices (or biases) of `stems`, one below the other; undefined if the config has none of them.
  at::Tensor joined(int layer, Stems stems, const char* suffix) const {
    std::vector<at::Tensor> parts;
    for (const std::string& stem : stems) parts.push_back(source_.layer(layer, stem + suffix));
    return parts[0].defined() ? at::cat(parts) : at::Tensor();
  }
  // The 4-bit matrices of `stems`, one below the other; nothing if the file has them in another form.
  std::optional<kernels::Int4Values> int4_values(int layer, Stems stems) const {
    std::optional<kernels::Int4Values> all;
    int found = 0;
    for (const std::string& stem : stems) {
      const auto part = source_.int4(layer, stem, *config_.int4);
      if (!part) continue;
      kernels::Int4Values values = values_of(*part);
      if (found++ > 0) {
        const bool alike = values.group == all->group && values.order.defined() == all->order.defined() &&
                           (!values.order.defined() || values.order.equal(all->order));
        if (!alike)
          fail(
              "4-bit weights: '{}' of layer {} has its inputs in another order or in other groups than the matrices "
              "that are multiplied with it",
              stem, layer);
        all->q = at::cat({all->q, values.q});
        all->scales = at::cat({all->scales, values.scales});
        all->zeros = at::cat({all->zeros, values.zeros});
      } else {
        all = std::move(values);
      }
    }
    if (found > 0 && found < static_cast<int>(stems.size()))
      fail("4-bit weights: layer {} has '{}' with 4 bits and not all that is multiplied with it", layer,
           *stems.begin());
    return all;
  }

  Linear fused(int layer, Stems stems, PackOptions pack = {}) const {
    if (config_.ternary) return ternary(joined(layer, stems, ".weight"), layer, stems);
    if (config_.int4)
      if (const auto values = int4_values(layer, stems))
        return Linear::int4(*values, joined(layer, stems, ".bias"), dtype_, pack.gated);
    return linear(joined(layer, stems, ".weight"), joined(layer, stems, ".bias"), pack);
  }
  Linear gated(int layer, Stems stems) const { return fused(layer, stems, {.gated = config_.gated_mlp}); }
  Norm layer_norm(int layer, const std::string& stem) const {
    return norm(source_.layer(layer, stem + ".weight"), source_.layer(layer, stem + ".bias"));
  }

  LayerWeights llama_layer(int layer) const {
    LayerWeights weights{.attention_norm = layer_norm(layer, "input_layernorm"),
                         .mlp_norm = layer_norm(layer, "post_attention_layernorm")};
    const bool fused_in_file = config_.naming == formats::WeightNaming::Phi3;
    if (config_.latent) {
      weights.latent = latent(layer);
    } else if (fused_in_file) {
      weights.qkv = fused(layer, {"self_attn.qkv_proj"});
    } else {
      weights.qkv = fused(layer, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    }
    weights.output = fused(layer, {"self_attn.o_proj"});
    weights.query_norm = layer_norm(layer, "self_attn.q_norm");
    weights.key_norm = layer_norm(layer, "self_attn.k_norm");
    if (config_.is_sparse(layer)) {
      weights.experts.emplace(config_, layer, experts(layer));
      return weights;
    }
    weights.up = fused_in_file ? gated(layer, {"mlp.gate_up_proj"}) : gated(layer, {"mlp.gate_proj", "mlp.up_proj"});
    weights.down = fused(layer, {"mlp.down_proj"});
    return weights;
  }

  LatentWeights latent(int layer) const {
    // These two norms keep a constant of their own, whatever rms_norm_eps is.
    const auto inner_norm = [&](const char* name) {
      return Norm{formats::NormKind::Rms, 1e-6, source_.on_device(source_.layer(layer, name)), at::Tensor()};
    };
    const bool direct = config_.latent->query_rank == 0;
    LatentWeights weights{.query_up = fused(layer, {direct ? "self_attn.q_proj" : "self_attn.q_b_proj"}),
                          .kv_down = fused(layer, {"self_attn.kv_a_proj_with_mqa"}),
                          .kv_norm = inner_norm("self_attn.kv_a_layernorm.weight"),
                          .kv_up = fused(layer, {"self_attn.kv_b_proj"})};
    if (direct) return weights;
    weights.query_down = fused(layer, {"self_attn.q_a_proj"});
    weights.query_norm = inner_norm("self_attn.q_a_layernorm.weight");
    return weights;
  }

  ExpertWeights experts(int layer) const {
    const formats::ExpertNames names = formats::expert_names(config_.naming);
    const std::string block = names.block;
    const auto get = [&](const std::string& name) { return source_.on_device(source_.layer(layer, block + name)); };
    const auto expert = [&](const std::string& stem, const char* gate, const char* up, const char* down) {
      return Expert{gated(layer, {stem + gate, stem + up}), fused(layer, {stem + down})};
    };
    ExpertWeights weights{
        .gate = get("gate.weight"), .selection_bias = {}, .experts = {}, .shared = {}, .shared_gate = {}};
    // Kept as stored: rounded to the model's type, biases of experts that are used alike would fall together.
    if (config_.moe.selection_bias)
      weights.selection_bias = source_.layer_raw(layer, block + "gate.e_score_correction_bias");
    for (int i = 0; i < config_.moe.experts; ++i)
      weights.experts.push_back(expert(fmt::format("{}experts.{}.", block, i), names.gate, names.up, names.down));
    for (int i = 0; i < config_.moe.constant; ++i)
      weights.constants.push_back({get(fmt::format("constant_experts.{}.mix.weight", i)),
                                   get(fmt::format("constant_experts.{}.value.weight", i))});
    if (config_.moe.shared_size == 0) return weights;
    const std::string shared = block + (config_.moe.shared_gated ? "shared_expert." : "shared_experts.");
    weights.shared = expert(shared, "gate_proj", "up_proj", "down_proj");
    weights.shared_gate = get("shared_expert_gate.weight");
    return weights;
  }

  LayerWeights gpt2_layer(int layer) const {
    const auto turned = [&](const std::string& stem) {
      return linear(source_.layer(layer, stem + ".weight").t().contiguous(), source_.layer(layer, stem + ".bias"));
    };
    return {.attention_norm = layer_norm(layer, "ln_1"),
            .qkv = turned("attn.c_attn"),
            .output = turned("attn.c_proj"),
            .mlp_norm = layer_norm(layer, "ln_2"),
            .up = turned("mlp.c_fc"),
            .down = turned("mlp.c_proj")};
  }

  LayerWeights gpt_neox_layer(int layer) const {
    // Stored head by head, each with its query, key and value.
    const auto by_kind = [&](const at::Tensor& rows) {
      if (!rows.defined()) return rows;
      return rows.unflatten(0, {config_.num_heads, 3, config_.head_dim}).transpose(0, 1).flatten(0, 2).contiguous();
    };
    return {.attention_norm = layer_norm(layer, "input_layernorm"),
            .qkv = linear(by_kind(source_.layer(layer, "attention.query_key_value.weight")),
                          by_kind(source_.layer(layer, "attention.query_key_value.bias"))),
            .output = fused(layer, {"attention.dense"}),
            .mlp_norm = layer_norm(layer, "post_attention_layernorm"),
            .up = fused(layer, {"mlp.dense_h_to_4h"}),
            .down = fused(layer, {"mlp.dense_4h_to_h"})};
  }

  Norm norm(const at::Tensor& gain, const at::Tensor& bias) const {
    return {config_.norm, config_.norm_eps, source_.on_device(gain), source_.on_device(bias)};
  }

  // `weight` are the matrices of `stems`, one below the other; each has a scale of its own.
  Linear ternary(const at::Tensor& weight, int layer, Stems stems) const {
    std::vector<at::Tensor> scales;
    for (const std::string& stem : stems) {
      const std::string name = formats::layer_weight_name(config_.naming, layer, stem);
      scales.push_back(
          source_.get_raw(name + ".weight_scale").to(at::kDouble).expand({source_.get_raw(name + ".weight").size(0)}));
    }
    // Products are exact in float32: float64 is for what lies between them.
    const at::Tensor matrix = weight.scalar_type() == at::kDouble ? weight.to(at::kFloat) : weight;
    Linear result = Linear::ternary(source_.on_device(matrix), source_.on_device(at::cat(scales)));
    result.pack();
    return result;
  }

  Linear linear(const at::Tensor& weight, const at::Tensor& bias, PackOptions pack = {}) const {
    Linear result(source_.on_device(weight), source_.on_device(bias));
    pack.int8 = pack.int8 || int8_;
    pack.int4 = int4_;
    result.pack(pack);
    return result;
  }

  const WeightSource& source_;
  const formats::ModelConfig& config_;
  at::ScalarType dtype_;
  bool int8_;
  std::optional<kernels::Int4Format> int4_;
};

// What the config says, else the type of the first floating-point tensor. float16 has too small a range to compute in,
// so float32 stands in.
at::ScalarType own_dtype(const formats::ModelConfig& config, const formats::Checkpoint& checkpoint) {
  if (config.dtype)
    return *config.dtype == "bfloat16" ? at::kBFloat16 : *config.dtype == "float64" ? at::kDouble : at::kFloat;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto type = scalar_type(tensor.type);
    if (type && at::isFloatingType(*type)) return *type == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  }
  return at::kFloat;
}

// Weights that the file has with 4 bits are computed as they are.
void check_stored_int4(const std::filesystem::path& folder, at::ScalarType dtype, const ModelLoadOptions& options) {
  if (!options.device.is_cpu()) fail("{}: has 4-bit weights, which are computed on the CPU only", folder.string());
  if (options.int8 || options.int4)
    fail("{}: has 4-bit weights already; dtype f32 or bf16 says what is computed between them", folder.string());
  if (dtype == at::kDouble) fail("{}: has 4-bit weights, which are computed in f32 or bf16", folder.string());
}

// Before anything is loaded: what does not fit, by the first matrix's name.
void check_int4(const std::filesystem::path& folder, const formats::ModelConfig& config, at::ScalarType dtype,
                const ModelLoadOptions& options) {
  if (!options.device.is_cpu()) fail("{}: dtype int4 is computed on the CPU only", folder.string());
  if (dtype == at::kDouble) fail("{}: dtype int4 is computed in f32 or bf16, the checkpoint is f64", folder.string());
  if (config.ternary) fail("{}: dtype int4: the weights are ternary already", folder.string());
  const std::string head = formats::weight_names(config.naming).head;
  for (const formats::WeightSpec& spec : formats::weight_list(config)) {
    if (spec.kind != formats::WeightKind::Matrix || spec.shape.size() != 2 || spec.name == head) continue;
    if (spec.inputs % options.int4->group != 0)
      fail("{}: dtype int4: groups of {} do not divide the {} of '{}'", folder.string(), options.int4->group,
           counted(spec.inputs, "input"), spec.name);
  }
}

}  // namespace

std::optional<kernels::Int4Format> parse_int4(std::string_view text) {
  const std::string_view kind = text.substr(0, text.find(':'));
  if (kind != "int4" && kind != "int4z") return std::nullopt;
  kernels::Int4Format format{.zero_points = kind == "int4z"};
  if (kind == text) return format;
  const std::string_view group = text.substr(kind.size() + 1);
  const auto [end, error] = std::from_chars(group.data(), group.data() + group.size(), format.group);
  if (error != std::errc() || end != group.data() + group.size() || format.group < 8 || format.group % 8 != 0 ||
      format.group > 1 << 20)
    fail("dtype '{}': groups of '{}'; a multiple of 8 was expected", text, group);
  return format;
}

at::ScalarType parse_dtype(std::string_view text) {
  if (text == "f32" || text == "float32") return at::kFloat;
  if (text == "bf16" || text == "bfloat16") return at::kBFloat16;
  if (text == "f64" || text == "float64") return at::kDouble;
  fail(
      "unknown dtype '{}'; known: f32, bf16, f64, and int8 or int4 (int4:GROUP, int4z with zero points) for the "
      "weights alone",
      text);
}

at::Device parse_device(std::string_view text) {
  if (text == "cpu") return at::kCPU;
  const std::string_view number = text.starts_with("cuda:") ? text.substr(5) : "0";
  const bool is_number =
      !number.empty() && number.size() <= 2 && number.find_first_not_of("0123456789") == std::string_view::npos;
  if ((text != "cuda" && !text.starts_with("cuda:")) || !is_number)
    fail("unknown device '{}'; known: cpu, cuda, cuda:N", text);
  if (!at::hasCUDA()) fail("device '{}': this build or this machine has no CUDA; known here: cpu", text);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(std::stoi(std::string(number))));
}

std::shared_ptr<const LanguageModel> load_model(const std::filesystem::path& folder, const ModelLoadOptions& options) {
  kernels::use_threads();
  const formats::ModelConfig described = formats::load_model_config(folder);
  const auto checkpoint = std::make_shared<const formats::Checkpoint>(formats::Checkpoint::open(folder));
  formats::ModelConfig config = formats::with_stored_head(*checkpoint, described);
  if (config.position == formats::PositionKind::Rope) config.context = std::max(config.context, options.least_context);
  const at::ScalarType dtype = options.dtype.value_or(own_dtype(config, *checkpoint));
  if (dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kDouble)
    fail("{}: models are computed in f32, bf16 or f64", folder.string());
  if (options.int8 && !options.device.is_cpu()) fail("{}: dtype int8 is computed on the CPU only", folder.string());
  if (options.int8_cache && (!options.device.is_cpu() || dtype == at::kDouble))
    fail("{}: kv_dtype int8 is for models that are computed on the CPU in f32 or bf16, this one is in {} on {}",
         folder.string(),
         dtype == at::kDouble  ? "f64"
         : dtype == at::kFloat ? "f32"
                               : "bf16",
         options.device.str());
  if (config.int4) check_stored_int4(folder, dtype, options);
  if (options.int4) check_int4(folder, config, dtype, options);
  ModelLoadOptions asked = options;
  asked.dtype = dtype;
  return load_model_of(checkpoint, config, asked);
}

std::shared_ptr<const Transformer> load_model_of(const std::shared_ptr<const formats::Checkpoint>& checkpoint,
                                                 const formats::ModelConfig& config, const ModelLoadOptions& options) {
  const at::ScalarType dtype = options.dtype.value_or(own_dtype(config, *checkpoint));
  const WeightSource source(checkpoint, config, dtype, options.device);
  return std::make_shared<Transformer>(config, Loader(source, config, dtype, options).load(), options.int8_cache);
}

}  // namespace foretell::model
