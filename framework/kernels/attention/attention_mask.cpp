#include "framework/kernels/attention/attention_mask.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace foretell::kernels::attention {

int AttentionMask::count(int row) const {
  if (all) return end - first;
  int seen = std::max(base - lowest_of(row), 0);
  for (int column = base; column < end; ++column) seen += sees(row, column) ? 1 : 0;
  return seen;
}

AttentionMask AttentionMask::select(std::span<const int> chosen) const {
  AttentionMask out;
  out.rows = static_cast<int>(chosen.size());
  out.first = first;
  out.base = base;
  out.end = end;
  out.all = all;
  out.options = options;
  if (all) return out;
  if (marks.empty() && !chosen.empty() && chosen.back() - chosen.front() == out.rows - 1) {
    if (!lowest.empty()) out.lowest.assign(lowest.begin() + chosen.front(), lowest.begin() + chosen.back() + 1);
    out.behind = behind + rows - 1 - chosen.back();
    return out;
  }
  out.marks.reserve(chosen.size() * static_cast<std::size_t>(end - base));
  for (const int row : chosen) {
    if (!lowest.empty()) out.lowest.push_back(lowest_of(row));
    for (int column = base; column < end; ++column) out.marks.push_back(sees(row, column) ? 1 : 0);
  }
  return out;
}

AttentionMask AttentionMask::without(std::span<const int> hidden) const {
  AttentionMask out;
  out.rows = rows;
  out.first = first;
  out.base = std::clamp(hidden.empty() ? base : hidden.front(), first, base);
  out.end = end;
  out.lowest = lowest;
  out.options = options;
  out.marks.reserve(static_cast<std::size_t>(rows) * static_cast<std::size_t>(end - out.base));
  for (int row = 0; row < rows; ++row)
    for (int column = out.base; column < end; ++column)
      out.marks.push_back((all || sees(row, column)) && !std::ranges::binary_search(hidden, column) ? 1 : 0);
  for (int& row : out.lowest) row = std::min(row, out.base);
  return out;
}

const at::Tensor& AttentionMask::mask() const {
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

}  // namespace foretell::kernels::attention
