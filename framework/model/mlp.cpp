#include "framework/model/mlp.h"

#include <ATen/core/Tensor.h>

#include "framework/kernels/kernels.h"

namespace foretell::model {

at::Tensor mlp_inside(const at::Tensor& x, const Linear& up, Activation activation, bool gated) {
  return gated ? up.gated(x, activation) : kernels::activate(up.forward(x), activation);
}

at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated) {
  return down.forward(mlp_inside(x, up, activation, gated));
}

}  // namespace foretell::model
