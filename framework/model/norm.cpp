#include "framework/model/norm.h"

#include <ATen/ops/layer_norm.h>

#include "framework/kernels/kernels.h"

namespace foretell {

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (!gain.defined()) return x;
  if (kind == NormKind::Layer) return at::layer_norm(x, {x.size(1)}, gain, bias, eps);
  return rms_norm(x, gain, eps);
}

}  // namespace foretell
