// A matrix laid out for products with few rows on the CPU: y = x W^T + b.
//
// Contract: W is stored in panels of 16 outputs, which are read once from memory, each in order, for up to twelve rows
// of x; more rows pass over a panel while the cache holds it. Products are formed in float32, each output of each row
// as one sum over the inputs in their order: the result depends neither on the rows beside it nor on the number of
// threads. It is rounded once. Weights are float32, bfloat16, or int8 with one scale an output (symmetric, the largest
// weight of an output is 127); x and y are float32 or bfloat16. Where the processor has matrix tiles, more than five
// bfloat16 rows go through them (tile_product.h), over bfloat16 or int8 weights: still independent of the threads and
// of what the rows beside are, but the sums of up to five rows, of rows that go 33 to 64 at a time and of all others
// differ in their order, so in their last bits.
//
// Why panels: with an output in each lane, a number of x is used for 16 products when it is read once, and there are no
// sums over lanes. Measured with LibTorch 2.11 on 2 cores with AVX-512 but no bfloat16 instructions;
// results/reference/speed.md has the numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

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

 private:
  at::Tensor storage_;  // bytes
  at::Tensor scales_;   // [out] float32; int8 only, else empty
  Type type_ = Type::Float32;
  bool gated_ = false;
  std::int64_t inputs_ = 0;
  std::int64_t outputs_ = 0;
};

}  // namespace foretell::kernels
