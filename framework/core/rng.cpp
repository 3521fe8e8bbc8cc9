#include "framework/core/rng.h"

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/vocab_ops.h"

namespace foretell {
std::array<std::uint32_t, 4> philox_block(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

PhiloxRng::PhiloxRng(const RngKey& key) {
  const std::uint64_t mixed = mix64(mix64(key.seed) ^ key.request);
  key_ = {static_cast<std::uint32_t>(mixed), static_cast<std::uint32_t>(mixed >> 32)};
  counter_ = {0, key.position, static_cast<std::uint32_t>(key.purpose),
              static_cast<std::uint32_t>(mix64(key.request) >> 32)};
}

std::uint64_t PhiloxRng::next() {
  if (used_ + 2 > 4) {
    block_ = philox_block(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  const std::uint64_t value = (static_cast<std::uint64_t>(block_[used_ + 1]) << 32) | block_[used_];
  used_ += 2;
  return value;
}

double PhiloxRng::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

std::uint64_t PhiloxRng::below(std::uint64_t bound) {
  FORETELL_CHECK(bound > 0, "bound {}", bound);
  const std::uint64_t limit = ~0ull - ~0ull % bound;  // a multiple of bound: what lies above would favour small values
  std::uint64_t value = next();
  while (value >= limit) value = next();
  return value % bound;
}

bool PhiloxRng::bernoulli(double probability) {
  if (probability >= 1) return true;
  if (!(probability > 0)) return false;
  return uniform() < probability;
}

std::size_t PhiloxRng::pick(std::span<const double> weights) {
  const double total = sum_of(weights);
  FORETELL_CHECK(total > 0, "total weight {} of {} entries", total, weights.size());
  return pick_index(weights, uniform() * total);
}

}  // namespace foretell
