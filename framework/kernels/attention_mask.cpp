#include "framework/kernels/attention_mask.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace foretell::kernels {

SeenRows SeenRows::select(std::span<const int> chosen) const {
  SeenRows out;
  out.rows = static_cast<int>(chosen.size());
  out.first = first;
  out.base = base;
  out.end = end;
  out.all = all;
  out.options = options;
  if (all) return out;
  out.marks.reserve(chosen.size() * static_cast<std::size_t>(end - base));
  for (const int row : chosen) {
    if (!lowest.empty()) out.lowest.push_back(lowest_of(row));
    for (int column = base; column < end; ++column) out.marks.push_back(sees(row, column) ? 1 : 0);
  }
  return out;
}

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
