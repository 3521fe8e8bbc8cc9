#include "framework/model/norm.h"

#include <ATen/ops/layer_norm.h>

#include "framework/kernels/kernels.h"

namespace foretell::model {

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (!gain.defined()) return x;
  if (kind == formats::NormKind::Layer) return at::layer_norm(x, {x.size(1)}, gain, bias, eps);
  return kernels::rms_norm(x, gain, eps);
}

}  // namespace foretell::model
