// What becomes of the sums of a product: scaled, biased, gated, added, rounded, written.
//
// Contract: each element of a row by itself, whatever rows are beside it.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

#include "framework/core/activation.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {

constexpr int kPanel = kLanes;  // outputs
constexpr int kGroup = 4;       // panels whose products are finished together

struct Output {
  enum class Kind { Store, Add, Gate } kind = Kind::Store;
  Activation activation = Activation::Silu;
  const float* bias = nullptr;
  const float* scales = nullptr;  // one an output
  std::int64_t outputs = 0;       // of the matrix
  std::int64_t width = 0;         // of a row of y
};

// Writes to y `used` rows of sums with a group of panels: [panels][rows][16], which are overwritten.
void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, float* y);
void finish(const Output& output, std::int64_t group, int used, int rows, float* sums, at::BFloat16* y);

}  // namespace foretell::kernels
