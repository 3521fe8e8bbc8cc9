// A matrix that rows are multiplied with: y = x W^T + b.
//
// Contract: two storages, one meaning. Plain keeps weight [out, in] as an ordinary tensor, which is what training and CUDA use. pack() prepares it for
// inference on the CPU. float32, and bfloat16 where the processor multiplies it, are copied once into the block layout of oneDNN's kernels; the
// plain tensor is given up unless it is small, when direct_product() takes fewer rows. Without bfloat16 instructions bfloat16 stays plain and
// direct_product() reads it. Results agree to rounding. A ternary matrix normalises and rounds its own input: ternary.h.
//
// Why, measured with LibTorch 2.11 on 2 cores with AVX-512 but no bfloat16 instructions, one 2048x4096 matrix out of memory, ms for 1 / 4 / 8 / 16
// rows: float32 plain 1.8 / 3.5 / 5.1 / 6.4, packed 2.0 / 1.9 / 2.5 / 2.8. bfloat16, while other programs ran: plain 4.4 / 17.6 / 24 / 31,
// packed 3.1 / 10.6 / 13 / 20, direct 3.0 / 3.5 / 6.4 / 8.5.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace foretell {

class Linear {
 public:
  Linear() = default;
  // weight [out, in]; bias [out] or undefined. Both of one type and device.
  Linear(at::Tensor weight, at::Tensor bias);
  // weight [out, in] of -1, 0 and 1; output_scales [out], float64. Rows come and go in any type.
  static Linear ternary(at::Tensor weight, at::Tensor output_scales);

  // Prepares for inference: on the CPU, outside of training; elsewhere nothing happens.
  void pack();
  bool is_packed() const { return is_packed_; }

  at::Tensor forward(const at::Tensor& x) const;  // x [rows, in] -> [rows, out]

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::size_t bytes() const { return bytes_; }

 private:
  at::Tensor multiplied(const at::Tensor& x) const;

  at::Tensor weight_;  // undefined once packed, unless small or better read plainly
  at::Tensor blocks_;  // oneDNN's layout; undefined if not used
  at::Tensor bias_;
  at::Tensor output_scales_;          // of a ternary matrix, else undefined
  at::ScalarType type_ = at::kFloat;  // of the matrix
  std::int64_t inputs_ = 0;
  std::int64_t outputs_ = 0;
  std::size_t bytes_ = 0;
  std::int64_t direct_rows_ = 0;  // up to so many rows direct_product() is used
  bool is_packed_ = false;
};

}  // namespace foretell
