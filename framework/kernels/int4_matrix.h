// A matrix of 4-bit weights for products on the CPU: y = x W^T + b.
//
// Contract: the inputs of an output are cut into groups of equal size, each with a scale (float16) and, where there are
// any, a zero point: weight = scale * (q - zero), q and zero in 0 ... 15; without zero points zero is 8. Products are
// formed in float32: within a group one sum over the inputs in their order, multiplied with the scale once, and the
// groups added in their order. So a row's result depends neither on the rows beside it nor on the number of threads,
// for any number of rows. It is rounded once. x and y are float32 or bfloat16.
//
// Layout: strips of 64 outputs. For each group eight inputs after eight, 16 outputs side by side, each with the eight
// in 32 bits; then the group's scales and zero points. So a strip is read once, in memory order. Where the processor
// looks sixteen numbers up in a register (AVX-512), a weight costs a shift, a look-up and a multiplication.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "framework/core/activation.h"

namespace foretell::kernels {

// How weights are rounded to 4 bits.
struct Int4Format {
  int group = 32;            // inputs that share a scale: a multiple of 8
  bool zero_points = false;  // the range of a group need not be symmetric
};

// What a 4-bit matrix is made of.
struct Int4Values {
  at::Tensor q = {};       // [out, in] uint8, 0 ... 15
  at::Tensor scales = {};  // [out, groups] float32, rounded to float16 when they are stored
  at::Tensor zeros = {};   // [out, groups] uint8, 0 ... 15; undefined: 8 everywhere
  at::Tensor order = {};   // [in] int64: input i of the matrix is x's element order[i]; undefined: i
  int group = 32;
};

// weight [out, in], float32 or bfloat16, rounded to the nearest. An Error unless the group size divides `in`.
Int4Values rounded_to_int4(const at::Tensor& weight, const Int4Format& format);

class Int4Matrix {
 public:
  Int4Matrix() = default;
  // Gated: the first half of the outputs are the gate's.
  Int4Matrix(const Int4Values& values, bool gated);

  bool defined() const { return storage_.defined(); }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::size_t bytes() const { return storage_.defined() ? storage_.nbytes() : 0; }

  // The weights as they are multiplied with, float32 [out, in].
  at::Tensor dequantize() const;

  // As PackedMatrix has them: x [rows, in]; bias [out], float32, or undefined.
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const;
  at::Tensor matmul_float(const at::Tensor& x, const at::Tensor& bias) const;
  void matmul_accumulate(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& y) const;
  at::Tensor matmul_glu(const at::Tensor& x, const at::Tensor& bias, Activation activation) const;

 private:
  struct Product {
    bool adds = false;
    std::optional<Activation> activation = {};
  };
  void multiply_into(const at::Tensor& x, const at::Tensor& bias, const Product& product, const at::Tensor& y) const;

  at::Tensor storage_;  // bytes
  at::Tensor order_;    // [in] int64, or undefined
  bool gated_ = false, zero_points_ = false;
  std::int64_t inputs_ = 0, outputs_ = 0, group_ = 32;
};

}  // namespace foretell::kernels
