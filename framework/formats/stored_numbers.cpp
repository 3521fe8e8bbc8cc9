#include "framework/formats/stored_numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "framework/core/error.h"

namespace foretell::formats {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  const int exponent = std::max(static_cast<int>((bits >> 23) & 0xff) - 127, -14);
  const auto steps =
      static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // in units of the last place
  return static_cast<std::uint16_t>(sign | (static_cast<std::uint32_t>(exponent + 14) * 1024 + steps));
}

float from_f16(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const float magnitude = exponent == 31  ? (fraction ? std::nanf("") : INFINITY)
                          : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                          : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

float read_stored(StoredType type, const std::byte* at) {
  switch (type) {
    case StoredType::F32: return load<float>(at);
    case StoredType::F64: return static_cast<float>(load<double>(at));
    case StoredType::BF16: return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(at)} << 16);
    case StoredType::F16: return from_f16(load<std::uint16_t>(at));
    default: break;
  }
  FORETELL_CHECK(false, "a number of type {}", name_of(type));
}

void write_stored(StoredType type, float value, std::byte* at) {
  FORETELL_CHECK(type == StoredType::F32 || type == StoredType::BF16 || type == StoredType::F16, "a number of type {}",
                 name_of(type));
  const std::uint32_t bits = type == StoredType::F32    ? std::bit_cast<std::uint32_t>(value)
                             : type == StoredType::BF16 ? to_bf16(value)
                                                        : to_f16(value);
  std::memcpy(at, &bits, bytes_of(type));
}

StoredType stored_type(const std::optional<std::string>& dtype) {
  if (dtype == "bfloat16") return StoredType::BF16;
  return dtype == "float16" ? StoredType::F16 : StoredType::F32;
}

}  // namespace foretell::formats
