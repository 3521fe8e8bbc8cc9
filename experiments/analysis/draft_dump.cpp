#include "experiments/analysis/draft_dump.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/safetensors.h"
#include "framework/io/mapped_file.h"

namespace foretell::analysis {
namespace {

using formats::StoredTensor;
using formats::StoredType;

constexpr std::array kNames = {"text", "taps", "draft_input_ids", "positions", "mask", "draft_logits"};

std::string called(const std::string& file, const char* name) { return fmt::format("{}: '{}'", file, name); }

template <class T>
T number_at(std::span<const std::byte> bytes, std::int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<std::size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

float half_at(std::span<const std::byte> bytes, std::int64_t index) {
  const auto bits = number_at<std::uint16_t>(bytes, index);
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
}

float bfloat_at(std::span<const std::byte> bytes, std::int64_t index) {
  const std::uint32_t bits = static_cast<std::uint32_t>(number_at<std::uint16_t>(bytes, index)) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float element(const StoredTensor& tensor, std::int64_t index, const std::string& what) {
  switch (tensor.type) {
    case StoredType::F32: return number_at<float>(tensor.bytes, index);
    case StoredType::F64: return static_cast<float>(number_at<double>(tensor.bytes, index));
    case StoredType::F16: return half_at(tensor.bytes, index);
    case StoredType::BF16: return bfloat_at(tensor.bytes, index);
    case StoredType::Bool:
    case StoredType::U8: return static_cast<float>(number_at<std::uint8_t>(tensor.bytes, index));
    case StoredType::I8: return static_cast<float>(number_at<std::int8_t>(tensor.bytes, index));
    case StoredType::I32: return static_cast<float>(number_at<std::int32_t>(tensor.bytes, index));
    case StoredType::I64: return static_cast<float>(number_at<std::int64_t>(tensor.bytes, index));
    default: fail("{} is stored as {}, which is not read", what, formats::name_of(tensor.type));
  }
}

// A row or a matrix whose first dimension may be a batch of one.
std::vector<std::int64_t> shape_of(const StoredTensor& tensor, std::size_t dims, const std::string& what) {
  std::vector<std::int64_t> shape = tensor.shape;
  while (shape.size() > dims && shape.front() == 1) shape.erase(shape.begin());
  if (shape.size() != dims)
    fail("{} is {}, expected {}", what, formats::to_string(tensor.shape), dims == 1 ? "[rows]" : "[rows, columns]");
  return shape;
}

std::vector<std::int64_t> integers(const StoredTensor& tensor, const std::string& what) {
  const std::int64_t count = shape_of(tensor, 1, what)[0];
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < count; ++i) {
    if (tensor.type == StoredType::I64)
      out.push_back(number_at<std::int64_t>(tensor.bytes, i));
    else if (tensor.type == StoredType::I32)
      out.push_back(number_at<std::int32_t>(tensor.bytes, i));
    else
      fail("{} is stored as {}, expected I64 or I32", what, formats::name_of(tensor.type));
  }
  return out;
}

DumpedNumbers matrix(const StoredTensor& tensor, const std::string& what) {
  const std::vector<std::int64_t> shape = shape_of(tensor, 2, what);
  DumpedNumbers out{shape[0], shape[1]};
  const std::int64_t count = shape[0] * shape[1];
  out.values.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) out.values.push_back(element(tensor, i, what));
  return out;
}

}  // namespace

DraftDump parse_draft_dump(std::span<const std::byte> bytes, const std::string& name) {
  const formats::SafetensorsFile file = formats::SafetensorsFile::parse(bytes, name);
  for (const auto& [tensor, stored] : file.tensors())
    if (std::ranges::find(kNames, tensor) == kNames.end())
      fail("{}: '{}' is no tensor of a dump; known: text, taps, draft_input_ids, positions, mask, draft_logits", name,
           printable(tensor));
  const auto find = [&](const char* wanted) -> const StoredTensor* {
    const auto found = file.tensors().find(wanted);
    return found == file.tensors().end() ? nullptr : &found->second;
  };
  DraftDump out;
  const StoredTensor* text = find("text");
  if (text == nullptr) fail("{}: tensor 'text' is missing: the committed token ids, the root of the draft last", name);
  out.text = integers(*text, called(name, "text"));
  if (out.text.size() < 2) fail("{}: 'text' has {} tokens, expected at least 2", name, out.text.size());
  if (const auto* t = find("taps")) out.taps = matrix(*t, called(name, "taps"));
  if (const auto* t = find("draft_input_ids")) out.input_ids = integers(*t, called(name, "draft_input_ids"));
  if (const auto* t = find("positions")) out.positions = integers(*t, called(name, "positions"));
  if (const auto* t = find("mask")) out.mask = matrix(*t, called(name, "mask"));
  if (const auto* t = find("draft_logits")) out.logits = matrix(*t, called(name, "draft_logits"));
  return out;
}

DraftDump read_draft_dump(const std::filesystem::path& file) {
  const io::MappedFile mapped = io::MappedFile::open(file);
  return parse_draft_dump(mapped.bytes(), file.string());
}

void write_draft_dump(const std::filesystem::path& file, const DraftDump& dump) {
  std::vector<formats::NewTensor> list;
  const auto add = [&](const char* name, StoredType type, std::vector<std::int64_t> shape, const auto& values) {
    list.push_back({name, type, std::move(shape),
                    [&values](std::span<std::byte> out) { std::memcpy(out.data(), values.data(), out.size()); }});
  };
  const auto integers = [&](const char* name, const std::vector<std::int64_t>& values) {
    add(name, StoredType::I64, {static_cast<std::int64_t>(values.size())}, values);
  };
  const auto numbers = [&](const char* name, const DumpedNumbers& values) {
    add(name, StoredType::F32, {values.rows, values.columns}, values.values);
  };
  integers("text", dump.text);
  if (dump.taps) numbers("taps", *dump.taps);
  if (dump.input_ids) integers("draft_input_ids", *dump.input_ids);
  if (dump.positions) integers("positions", *dump.positions);
  if (dump.mask) numbers("mask", *dump.mask);
  if (dump.logits) numbers("draft_logits", *dump.logits);
  formats::write_safetensors(file, list);
}

}  // namespace foretell::analysis
