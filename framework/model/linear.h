// A matrix that rows are multiplied with: y = x W^T + b.
//
// Contract: two storages, one meaning. Plain keeps weight [out, in] as an ordinary tensor, which is what training and CUDA use. Packed keeps, on the
// CPU only, a copy in the block layout of oneDNN's matrix kernels, made once at load; the plain tensor is given up. Results agree to rounding.
//
// Why packed, measured with LibTorch 2.11 on 2 cores with AVX-512 (no bf16 instructions), one 2048x4096 matrix out of memory, ms for 1 / 4 / 8 / 16
// rows: float32 plain 1.8 / 3.5 / 5.1 / 6.4, packed 2.0 / 1.9 / 2.5 / 2.8; bfloat16 plain 1.5 / 5.6 / 7.7 / 11.7, packed 1.0 / 3.9 / 5.9 / 9.2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace foretell {

class Linear {
 public:
  Linear() = default;
  // weight [out, in]; bias [out] or undefined. Both of one type and device.
  Linear(at::Tensor weight, at::Tensor bias);

  // Moves to the packed storage where that is the faster one: on the CPU, outside of training.
  void pack();
  bool is_packed() const { return packed_.defined(); }

  at::Tensor forward(const at::Tensor& x) const;  // x [rows, in] -> [rows, out]

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::size_t bytes() const { return bytes_; }

 private:
  at::Tensor weight_;  // undefined once packed
  at::Tensor packed_;
  at::Tensor bias_;
  std::int64_t inputs_ = 0;
  std::int64_t outputs_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace foretell
