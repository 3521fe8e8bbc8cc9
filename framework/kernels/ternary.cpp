#include "framework/kernels/ternary.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "framework/core/cpu_clones.h"

namespace foretell::kernels {
namespace {

constexpr double kSteps = 127;           // of the largest element
constexpr double kSmallestNorm = 1e-12;  // as in the models' own code; both matter for rows of zeros only
constexpr double kSmallestTop = 1e-5;

// What the largest element of a normalised row is, and the factor that turns an element of x into steps.
struct RowScale {
  double top, factor;
};

RowScale row_scale(double square_sum, double largest, std::int64_t width) {
  const double normal = 1 / (std::max(std::sqrt(square_sum), kSmallestNorm) * std::sqrt(static_cast<double>(width)));
  const double top = std::max(largest * normal, kSmallestTop);
  return {top, normal * kSteps / top};
}

FORETELL_CLONES double quantise_row(const double* x, float* out, std::int64_t width) {
  double sum = 0, largest = 0;
#pragma omp simd reduction(+ : sum) reduction(max : largest)
  for (std::int64_t i = 0; i < width; ++i) {
    sum += x[i] * x[i];
    largest = std::max(largest, std::fabs(x[i]));
  }
  const RowScale scale = row_scale(sum, largest, width);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) out[i] = static_cast<float>(std::nearbyint(x[i] * scale.factor));
  return scale.top / kSteps;
}

}  // namespace

QuantisedRows quantise_rows_aten(const at::Tensor& x, at::ScalarType type) {
  const at::Tensor rows = x.to(at::kDouble);
  const double root = std::sqrt(static_cast<double>(x.size(1)));
  const at::Tensor normal = rows.square().sum(1).sqrt().clamp_min(kSmallestNorm).mul(root).reciprocal();
  const at::Tensor top = rows.abs().amax(1).mul(normal).clamp_min(kSmallestTop);
  return {rows.mul(normal.mul(kSteps).div(top).unsqueeze(1)).round().to(type), top.div(kSteps)};
}

QuantisedRows quantise_rows(const at::Tensor& x, at::ScalarType type) {
  if (!x.is_cpu() || x.numel() == 0) return quantise_rows_aten(x, type);
  const at::Tensor in = x.to(at::kDouble).contiguous();
  const at::Tensor values = at::empty(in.sizes(), in.options().dtype(at::kFloat));
  const at::Tensor scales = at::empty({x.size(0)}, in.options());
  const std::int64_t width = x.size(1);
  for (std::int64_t row = 0; row < x.size(0); ++row) {
    scales.mutable_data_ptr<double>()[row] =
        quantise_row(in.const_data_ptr<double>() + row * width, values.mutable_data_ptr<float>() + row * width, width);
  }
  return {values.to(type), scales};
}

at::Tensor rescale(const at::Tensor& product, const at::Tensor& row_scales, const at::Tensor& output_scales,
                   at::ScalarType type) {
  return product.to(at::kDouble, false, true).mul_(output_scales).mul_(row_scales.unsqueeze(1)).to(type);
}

}  // namespace foretell::kernels
