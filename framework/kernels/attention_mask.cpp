#include "framework/kernels/attention_mask.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace foretell::kernels {

const at::Tensor& SeenRows::mask() const {
  if (all || mask_.defined()) return mask_;
  const int width = end - first;
  at::Tensor mask = at::zeros({1, 1, rows, width}, at::kFloat);
  float* values = mask.mutable_data_ptr<float>();
  for (int row = 0; row < rows; ++row, values += width) {
    std::fill_n(values, lowest_of(row) - first, -std::numeric_limits<float>::infinity());
    for (int column = base; column < end; ++column)
      if (!sees(row, column)) values[column - first] = -std::numeric_limits<float>::infinity();
  }
  return mask_ = mask.to(options);
}

}  // namespace foretell::kernels
