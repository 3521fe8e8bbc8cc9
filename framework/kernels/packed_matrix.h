// A matrix laid out for products with few rows on the CPU: y = x W^T + b.
//
// Contract: each output of each row is one sum over the inputs in float32, rounded once, in an order that the path
// decides (matrix_path.h) and nothing else: to the bit, a row's result does not depend on how many rows there are, on
// what they are or on the number of threads. Weights are float32, bfloat16, or int8 with one scale an output
// (symmetric, the largest weight of an output is 127); x and y are float32 or bfloat16. Few rows read the weights from
// memory once; more pass over a piece of them while a cache holds it.
//
// Why panels: with an output in each lane, a number of x is used for 16 products when it is read once, and there are no
// sums over lanes. Measured with LibTorch 2.11 on 2 cores with AVX-512 but no bfloat16 instructions;
// results/reference/speed.md has the numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "framework/core/activation.h"
#include "framework/kernels/panels.h"

namespace foretell::kernels {

class PackedMatrix {
 public:
  using Type = PanelType;

  PackedMatrix() = default;
  // weight [out, in], contiguous, on the CPU: of the type, or float32 or bfloat16 to be rounded to int8. Whole numbers
  // that are int8 already have no scales. Gated: the first half of the outputs are the gate's, and each pair is stored
  // together; then out has to be even. The matrix is copied.
  PackedMatrix(const at::Tensor& weight, Type type, bool gated);

  bool defined() const { return storage_.defined(); }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::size_t bytes() const { return storage_.defined() ? storage_.nbytes() + scales_.nbytes() : 0; }
  Type type() const { return type_; }

  // The matrix of whole panels alone, in this order: of panel i the outputs 16 i to 16 i + 15, of which the last may
  // have rows that are not there. Not of a gated matrix.
  static constexpr std::int64_t kPanelOutputs = 16;
  PackedMatrix panels(const std::vector<std::int64_t>& chosen) const;

  // The weights as they are multiplied with, float32 [out, in].
  at::Tensor dequantize() const;

  // x [rows, in], contiguous; bias [out], float32, or undefined. -> [rows, out] in x's type, or not rounded at all.
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const;
  at::Tensor matmul_float(const at::Tensor& x, const at::Tensor& bias) const;  // float32
  // y [rows, out] += the product, in y's type.
  void matmul_accumulate(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& y) const;
  // activation(gate) * other, [rows, out / 2] (Shazeer 2020, arXiv 2002.05202). For a gated matrix only, which has no
  // other product.
  at::Tensor matmul_glu(const at::Tensor& x, const at::Tensor& bias, Activation activation) const;

  // One of these products with so many rows, for whoever computes it in a parallel region of his own
  // (row_products.h); `kind` is the product's. Valid as long as the matrix and the bias.
  Product product_of(std::int64_t rows, const Output& kind, const at::Tensor& bias) const;

 private:
  at::Tensor storage_;  // bytes
  at::Tensor scales_;   // [out] float32; int8 only, else empty
  Type type_ = Type::Float32;
  bool gated_ = false;
  std::int64_t inputs_ = 0;
  std::int64_t outputs_ = 0;
};

// float32 [rows, width], not set: where matmul_float writes.
at::Tensor room_for_rows(std::int64_t rows, std::int64_t width);

}  // namespace foretell::kernels
