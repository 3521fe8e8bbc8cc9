// Single numbers as files store them.
//
// Contract: F32, F16, BF16 and F64 can be read, F32, F16 and BF16 written: to the nearest, ties to even. Bytes may be
// unaligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "framework/formats/safetensors.h"

namespace foretell::formats {

std::uint16_t to_bf16(float value);
std::uint16_t to_f16(float value);  // beyond its range: infinite
float from_f16(std::uint16_t bits);

float read_stored(StoredType type, const std::byte* at);
void write_stored(StoredType type, float value, std::byte* at);

// What weights of config.json's "dtype" are written as: F32 where there is none, and for float64.
StoredType stored_type(const std::optional<std::string>& dtype);

}  // namespace foretell::formats
