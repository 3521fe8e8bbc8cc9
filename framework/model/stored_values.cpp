#include "framework/model/stored_values.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>

#include "framework/core/error.h"

namespace foretell::model {
namespace {

at::ScalarType scalar_type(formats::StoredType type, const std::string& name) {
  switch (type) {
    case formats::StoredType::F32: return at::kFloat;
    case formats::StoredType::F16: return at::kHalf;
    case formats::StoredType::BF16: return at::kBFloat16;
    case formats::StoredType::F64: return at::kDouble;
    default: fail("the tensor '{}' is stored as {}; F32, F16, BF16 and F64 can be read", name, name_of(type));
  }
}

template <class T>
void copy_integers(std::span<const std::byte> bytes, at::Tensor& out) {
  std::int64_t* values = out.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(out.numel()); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<std::int64_t>(value);
  }
}

}  // namespace

bool holds_integers(const formats::StoredTensor& stored) {
  using enum formats::StoredType;
  return stored.type == I64 || stored.type == I32 || stored.type == Bool || stored.type == U8;
}

at::Tensor integers_of(const formats::StoredTensor& stored, const std::string& name) {
  at::Tensor out = at::empty(stored.shape, at::kLong);
  switch (stored.type) {
    case formats::StoredType::I64: copy_integers<std::int64_t>(stored.bytes, out); break;
    case formats::StoredType::I32: copy_integers<std::int32_t>(stored.bytes, out); break;
    case formats::StoredType::Bool:
    case formats::StoredType::U8: copy_integers<std::uint8_t>(stored.bytes, out); break;
    default: fail("the tensor '{}' is stored as {}; integers were expected", name, name_of(stored.type));
  }
  return out;
}

at::Tensor tensor_of(const formats::StoredTensor& stored, const std::string& name) {
  at::Tensor raw = at::empty(stored.shape, at::TensorOptions().dtype(scalar_type(stored.type, name)));
  std::copy(stored.bytes.begin(), stored.bytes.end(), static_cast<std::byte*>(raw.mutable_data_ptr()));
  return raw;
}

formats::NewTensor stored_as(const std::string& name, const at::Tensor& value, at::ScalarType type) {
  FORETELL_CHECK(type == at::kFloat || type == at::kBFloat16, "type {}", static_cast<int>(type));
  const auto fill = [value, type](std::span<std::byte> out) {
    const at::Tensor host = value.detach().to(at::kCPU, type).contiguous();
    FORETELL_CHECK(host.nbytes() == out.size(), "{} bytes for {}", host.nbytes(), out.size());
    std::memcpy(out.data(), host.const_data_ptr(), out.size());
  };
  return {name, type == at::kFloat ? formats::StoredType::F32 : formats::StoredType::BF16, value.sizes().vec(), fill};
}

}  // namespace foretell::model
