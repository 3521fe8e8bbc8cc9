#include "framework/model/mlp.h"

#include <ATen/core/Tensor.h>

#include "framework/model/kernels.h"

namespace foretell {

at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated) {
  const at::Tensor wide = up.forward(x);
  if (!gated) return down.forward(activate(wide, activation));
  // Shazeer 2020, arXiv 2002.05202: activation(gate) * up.
  const std::int64_t width = wide.size(1) / 2;
  const at::Tensor gate = activate(wide.narrow(1, 0, width), activation);
  return down.forward(gate.mul(wide.narrow(1, width, width)));
}

}  // namespace foretell
