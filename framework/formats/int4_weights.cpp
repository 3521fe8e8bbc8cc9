#include "framework/formats/int4_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::formats {
namespace {

constexpr int kPacked = 8;  // numbers in 32 bits
// AutoAWQ's: the number in bits 4k ... 4k + 3 is output kAwqOrder[k] of the eight.
constexpr int kAwqOrder[kPacked] = {0, 2, 4, 6, 1, 3, 5, 7};

const StoredTensor& part_of(const StoredTensors& tensors, const std::string& name,
                            const std::vector<std::int64_t>& shape, const std::string& file) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail("{}: the tensor '{}' {} is missing", file, name, to_string(shape));
  if (found->second.shape != shape)
    fail("{}: the tensor '{}' has shape {}, its matrix and group size ask for {}", file, name,
         to_string(found->second.shape), to_string(shape));
  return found->second;
}

const StoredTensor& words_of(const StoredTensors& tensors, const std::string& name,
                             const std::vector<std::int64_t>& shape, const std::string& file) {
  const StoredTensor& found = part_of(tensors, name, shape, file);
  if (found.type != StoredType::I32)
    fail("{}: the tensor '{}' is stored as {}; I32 was expected", file, name, name_of(found.type));
  return found;
}

std::uint32_t word(const StoredTensor& tensor, std::int64_t index) {
  std::uint32_t value = 0;
  std::memcpy(&value, tensor.bytes.data() + index * 4, sizeof value);
  return value;
}

float half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                          : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                           : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

float scale(const StoredTensor& tensor, std::int64_t index) {
  std::uint16_t bits = 0;
  if (tensor.type == StoredType::F32) {
    float value = 0;
    std::memcpy(&value, tensor.bytes.data() + index * 4, sizeof value);
    return value;
  }
  std::memcpy(&bits, tensor.bytes.data() + index * 2, sizeof bits);
  if (tensor.type == StoredType::F16) return half(bits);
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Which of eight outputs lies at these bits, by layout.
int place_of(bool awq, int output) {
  if (!awq) return output;
  return static_cast<int>(std::find(std::begin(kAwqOrder), std::end(kAwqOrder), output) - std::begin(kAwqOrder));
}

// The inputs, those of the first group first. An Error unless all groups are of one size.
std::vector<std::int64_t> order_of(const StoredInt4& stored, const std::string& name, const std::string& file) {
  const std::int64_t groups = stored.inputs / stored.group;
  std::vector<std::int64_t> order(static_cast<std::size_t>(stored.inputs));
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(groups), 0);
  for (std::int64_t i = 0; i < stored.inputs; ++i) {
    const std::uint32_t group = word(*stored.order, i);
    if (group >= groups || ++sizes[group] > stored.group)
      fail("{}: the tensor '{}': input {} is of group {}; {} of {} inputs each were expected", file, name, i, group,
           counted(groups, "group"), stored.group);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return word(*stored.order, a) < word(*stored.order, b); });
  if (std::is_sorted(order.begin(), order.end())) order.clear();
  return order;
}

}  // namespace

std::optional<Int4Storage> parse_int4_storage(const io::JsonObject& config) {
  const auto quantised = config.object("quantization_config");
  if (!quantised) return std::nullopt;
  const nlohmann::json* method = quantised->find("quant_method");
  if (!method || !method->is_string() || (*method != "gptq" && *method != "awq")) return std::nullopt;
  const bool awq = *method == "awq";
  const auto bits = quantised->integer("bits", 1, 64);
  if (!bits || *bits != 4) quantised->refuse("bits", "is {}; 4 is read", bits ? std::to_string(*bits) : "missing");
  const std::int64_t group = quantised->integer("group_size", -1, 1 << 20).value_or(128);
  if (group != -1 && (group <= 0 || group % kPacked != 0))
    quantised->refuse("group_size", "is {}; -1 or a multiple of {} was expected", group, kPacked);
  Int4Storage storage{.layout = awq ? Int4Storage::Layout::Awq : Int4Storage::Layout::Gptq};
  if (group != -1) storage.group = static_cast<int>(group);
  const std::string form = quantised->string(awq ? "version" : "checkpoint_format").value_or(awq ? "gemm" : "gptq");
  if (awq ? form != "gemm" && form != "GEMM" : form != "gptq" && form != "gptq_v2")
    quantised->refuse(awq ? "version" : "checkpoint_format", "is '{}'; {} is read", io::shown(form),
                      awq ? "gemm" : "gptq or gptq_v2");
  if (form == "gptq_v2") storage.layout = Int4Storage::Layout::GptqV2;
  return storage;
}

nlohmann::ordered_json int4_storage_json(const Int4Storage& storage) {
  const bool awq = storage.layout == Int4Storage::Layout::Awq;
  nlohmann::ordered_json json{
      {"quant_method", awq ? "awq" : "gptq"}, {"bits", 4}, {"group_size", storage.group.value_or(-1)}};
  if (awq)
    json["version"] = "gemm";
  else
    json["checkpoint_format"] = storage.layout == Int4Storage::Layout::GptqV2 ? "gptq_v2" : "gptq";
  return json;
}

bool has_int4(const StoredTensors& tensors, const std::string& stem) { return tensors.contains(stem + ".qweight"); }

StoredInt4 find_int4(const StoredTensors& tensors, const std::string& stem, std::int64_t outputs, std::int64_t inputs,
                     const Int4Storage& storage, const std::string& file) {
  StoredInt4 out{.outputs = outputs, .inputs = inputs, .group = storage.group.value_or(static_cast<int>(inputs))};
  if (inputs % out.group != 0 || out.group % kPacked != 0 || outputs % kPacked != 0)
    fail("{}: '{}' {}: 4-bit weights in groups of {} do not fit it", file, stem, to_string({{outputs, inputs}}),
         out.group);
  const std::int64_t groups = inputs / out.group;
  const bool awq = storage.layout == Int4Storage::Layout::Awq;
  const std::vector<std::int64_t> packed =
      awq ? std::vector{inputs, outputs / kPacked} : std::vector{inputs / kPacked, outputs};
  out.qweight = &words_of(tensors, stem + ".qweight", packed, file);
  out.qzeros = &words_of(tensors, stem + ".qzeros", {groups, outputs / kPacked}, file);
  out.scales = &part_of(tensors, stem + ".scales", {groups, outputs}, file);
  const StoredType type = out.scales->type;
  if (type != StoredType::F16 && type != StoredType::BF16 && type != StoredType::F32)
    fail("{}: the tensor '{}.scales' is stored as {}; F16, BF16 and F32 can be read", file, stem, name_of(type));
  if (!awq && tensors.contains(stem + ".g_idx")) out.order = &words_of(tensors, stem + ".g_idx", {inputs}, file);
  return out;
}

Int4Tensors read_int4(const StoredInt4& stored, const Int4Storage& storage, const std::string& stem,
                      const std::string& file) {
  const std::int64_t outputs = stored.outputs, inputs = stored.inputs, groups = inputs / stored.group;
  const bool awq = storage.layout == Int4Storage::Layout::Awq;
  const std::uint8_t less = storage.layout == Int4Storage::Layout::Gptq ? 1 : 0;
  Int4Tensors out;
  out.group = static_cast<int>(stored.group);
  out.inputs = inputs;
  if (stored.order) out.order = order_of(stored, stem + ".g_idx", file);
  out.q.resize(static_cast<std::size_t>(outputs * inputs));
  out.scales.resize(static_cast<std::size_t>(outputs * groups));
  out.zeros.resize(out.scales.size());
  for (std::int64_t o = 0; o < outputs; ++o) {
    const int shift = 4 * place_of(awq, static_cast<int>(o % kPacked));
    for (std::int64_t i = 0; i < inputs; ++i) {
      const std::int64_t input = out.order.empty() ? i : out.order[static_cast<std::size_t>(i)];
      const std::uint32_t bits = awq ? word(*stored.qweight, input * (outputs / kPacked) + o / kPacked) >> shift
                                     : word(*stored.qweight, input / kPacked * outputs + o) >> (4 * (input % kPacked));
      out.q[static_cast<std::size_t>(o * inputs + i)] = bits & 15u;
    }
    for (std::int64_t group = 0; group < groups; ++group) {
      const auto at = static_cast<std::size_t>(o * groups + group);
      out.zeros[at] = (word(*stored.qzeros, group * (outputs / kPacked) + o / kPacked) >> shift & 15u) + less;
      out.scales[at] = scale(*stored.scales, group * outputs + o);
      if (!std::isfinite(out.scales[at]) || std::abs(out.scales[at]) > 65504)
        fail("{}: the tensor '{}.scales' has {} for output {}", file, stem, out.scales[at], o);
    }
  }
  return out;
}

}  // namespace foretell::formats
