// Normal numbers by counter, for weights: the same on every machine, whatever the order they are asked for in.
//
// Contract: pure functions made of integer sums, so no machine's mathematics library has a say. Random weights depend
// on them: changing one changes every model that was made from a seed.
#pragma once

#include <cstdint>
#include <string_view>

#include "framework/core/mix.h"

namespace foretell {

// FNV-1a, so that a tensor's values depend on its name and not on its place in the list.
constexpr std::uint64_t name_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Near normal with deviation 1: the sum of eight 16-bit numbers of two counters.
inline float normal_at(std::uint64_t key, std::uint64_t index) {
  std::int64_t sum = 0;
  for (std::uint64_t part = 0; part < 2; ++part) {
    const std::uint64_t bits = mix64(key ^ mix64(2 * index + part));
    for (int i = 0; i < 4; ++i) sum += static_cast<std::int64_t>((bits >> (16 * i)) & 0xffff);
  }
  constexpr float kMeanTimes2 = 8.0f * 65535.0f;
  constexpr float kDeviationTimes2 = 2.0f * 53509.9199f;  // sqrt(8 (65536^2 - 1) / 12)
  return static_cast<float>((2 * sum - static_cast<std::int64_t>(kMeanTimes2))) / kDeviationTimes2;
}

}  // namespace foretell
