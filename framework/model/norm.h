// A norm with its weights.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/formats/model_config.h"

namespace foretell::model {

// Without a gain there is no norm here: rows go through as they are.
struct Norm {
  formats::NormKind kind = formats::NormKind::Rms;
  double eps = 1e-5;
  at::Tensor gain;  // [width]
  at::Tensor bias;  // [width]; LayerNorm only (Ba et al. 2016, arXiv 1607.06450)

  at::Tensor forward(const at::Tensor& x) const;  // [rows, width]
  bool is_rms() const { return gain.defined() && kind == formats::NormKind::Rms && gain.is_contiguous(); }
  std::size_t bytes() const { return (gain.defined() ? gain.nbytes() : 0) + (bias.defined() ? bias.nbytes() : 0); }
};

}  // namespace foretell::model
