// An order without a list.
//
// Contract: for a fixed size and key, a bijection of [0, size).
#pragma once

#include <cstdint>

#include "framework/core/mix.h"

namespace foretell::training {

// Where `index` goes in a shuffled order: a Feistel network over the next power of four, walked until it lands inside.
constexpr std::uint64_t shuffled(std::uint64_t index, std::uint64_t size, std::uint64_t key) {
  int half = 1;
  while ((std::uint64_t{1} << (2 * half)) < size) ++half;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = index >> half, right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = left ^ (mix64(key ^ mix64(right + (round << 32))) & mask);
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= size);
  return index;
}

}  // namespace foretell::training
