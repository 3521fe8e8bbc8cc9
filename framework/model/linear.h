// A matrix that rows are multiplied with: y = x W^T + b.
//
// Contract: two storages, one meaning. Plain keeps weight [out, in] as an ordinary tensor, which is what training and
// CUDA use. pack() prepares it for inference on the CPU and gives the plain tensor up: as a PackedMatrix, whose results
// for a row do not depend on the rows beside it, to the bit; float64 stays plain. Both agree to rounding. A ternary
// matrix normalises and rounds its own input: ternary.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>

#include "framework/formats/model_config.h"
#include "framework/kernels/int4_matrix.h"
#include "framework/kernels/packed_matrix.h"

namespace foretell::model {

struct PackOptions {
  bool gated = false;  // the first half of the outputs is the gate of the second; only gated() can be asked then
  bool int8 = false;   // weights rounded to 8 bits, a scale for each output
  // Weights rounded to 4 bits, with a scale for each group of inputs; int8 wins.
  std::optional<kernels::Int4Format> int4 = {};
};

// To what weights of matrices are rounded.
struct WeightRounding {
  std::optional<kernels::Int4Format> int4 = {};  // none: int8
};

class Linear {
 public:
  Linear() = default;
  // weight [out, in]; bias [out] or undefined. Both of one type and device.
  Linear(at::Tensor weight, at::Tensor bias);
  // weight [out, in] of -1, 0 and 1; output_scales [out], float64. Rows come and go in any type.
  static Linear ternary(at::Tensor weight, at::Tensor output_scales);

  // Of 4-bit weights, packed at once; `type` is what rows come in. On the CPU.
  static Linear int4(const kernels::Int4Values& values, at::Tensor bias, at::ScalarType type, bool gated);

  // Prepares for inference: on the CPU, outside of training; elsewhere nothing happens.
  void pack(const PackOptions& options = {});
  bool is_packed() const { return is_packed_; }
  // The matrix where it is one of these and nothing is done to its rows; else null. Its bias in float32, if any.
  const kernels::PackedMatrix* packed() const {
    return packed_.defined() && !output_scales_.defined() ? &packed_ : nullptr;
  }
  const at::Tensor& wide_bias() const { return wide_bias_; }
  // The same with rounded weights, packed. On the CPU; a ternary matrix stays as it is. An Error where groups of 4-bit
  // weights do not divide the inputs.
  Linear rounded(const WeightRounding& to, bool gated) const;

  at::Tensor forward(const at::Tensor& x) const;       // x [rows, in] -> [rows, out]
  at::Tensor forward_wide(const at::Tensor& x) const;  // the same in float32, not rounded before where packed
  // The same for some outputs alone, float32 [rows, outputs.size()]: reads little more than these where the matrix is
  // packed or plain.
  at::Tensor forward_some(const at::Tensor& x, std::span<const std::int64_t> outputs) const;
  void add_to(const at::Tensor& y, const at::Tensor& x) const;  // y [rows, out] += the same, in place
  // activation(gate) * other (Shazeer 2020, arXiv 2002.05202), the gate being the first half of the outputs. -> [rows,
  // out / 2]
  at::Tensor gated(const at::Tensor& x, Activation activation) const;

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::size_t bytes() const { return bytes_; }  // that one product reads

 private:
  at::Tensor multiplied(const at::Tensor& x) const;

  at::Tensor weight_;  // undefined once packed
  kernels::PackedMatrix packed_;
  kernels::Int4Matrix int4_;          // instead of the others
  at::Tensor bias_;                   // in the matrix's type
  at::Tensor wide_bias_;              // the same in float32
  at::Tensor output_scales_;          // of a ternary matrix, else undefined
  at::ScalarType type_ = at::kFloat;  // of the matrix
  std::int64_t inputs_ = 0;
  std::int64_t outputs_ = 0;
  std::size_t bytes_ = 0;
  bool is_packed_ = false;
};

// The two matrices of an MLP with the activation between them, for inference. Gated: the upper matrix has the gate's
// rows first, then those that it is multiplied with. What the lower matrix is given: x [rows, in] -> [rows, width].
at::Tensor mlp_inside(const at::Tensor& x, const Linear& up, Activation activation, bool gated);
// x [rows, in] -> [rows, out]
at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated);

}  // namespace foretell::model
