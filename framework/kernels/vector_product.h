// Products with panels in vectors of float32, for any processor.
//
// Contract: each output of each row is one sum over the inputs in their order, in float32, whatever the number of rows.
#pragma once

#include <c10/util/BFloat16.h>

#include "framework/kernels/panels.h"

namespace foretell::kernels {

// x [rows, inputs], y [rows, output.width].
void multiply_by_vectors(const Product& product, const float* x, float* y);
void multiply_by_vectors(const Product& product, const at::BFloat16* x, float* y);
void multiply_by_vectors(const Product& product, const at::BFloat16* x, at::BFloat16* y);

// The same in the two steps of row_products.h.
void lay_out_turned(const Product& product, const float* x);
void lay_out_turned(const Product& product, const at::BFloat16* x);
void multiply_turned(const Product& product, GroupRange groups, float* y);
void multiply_turned(const Product& product, GroupRange groups, at::BFloat16* y);

// Of one line of an int8 panel the weights of each of the four inputs.
FORETELL_INLINE void widen_int8_line(const std::byte* at, Lanes (&weights)[4]) {
  // They lie in 32 bits: two shifts take one of them out with its sign.
  using Integers = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
  Integers four;
  std::memcpy(&four, at, sizeof four);
  weights[0] = __builtin_convertvector((four << 24) >> 24, Lanes);
  weights[1] = __builtin_convertvector((four << 16) >> 24, Lanes);
  weights[2] = __builtin_convertvector((four << 8) >> 24, Lanes);
  weights[3] = __builtin_convertvector(four >> 24, Lanes);
}

// Integers this small are bfloat16 numbers: the low halves of their float32 are zero. Pairs as a bfloat16 panel has
// them.
using PairWords = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
FORETELL_INLINE void pair_up(const Lanes& even, const Lanes& odd, PairWords& pairs) {
  PairWords low, high;
  std::memcpy(&low, &even, sizeof low);
  std::memcpy(&high, &odd, sizeof high);
  pairs = (low >> 16) | high;
}

}  // namespace foretell::kernels
