// One step of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators"): neighbouring inputs
// give unrelated outputs.
//
// Contract: a fixed bijection of 64-bit values. Keys of generators and random weights are made with it, so changing it
// changes both.
#pragma once

#include <cstdint>

namespace foretell {

constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace foretell
