#include "framework/kernels/attention/attention_mask.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "framework/core/error.h"

namespace foretell::kernels::attention {

namespace {

// The first range that ends behind a position.
auto range_behind(std::span<const PositionRange> ranges, int position) {
  return std::ranges::partition_point(ranges, [&](const PositionRange& range) { return range.end <= position; });
}

}  // namespace

void AttentionMask::add_ranges(std::span<const PositionRange> of_row) {
  ranges.insert(ranges.end(), of_row.begin(), of_row.end());
  range_ends.push_back(static_cast<int>(ranges.size()));
  all = false;
}

bool AttentionMask::in_ranges(int row, int position) const {
  const std::span<const PositionRange> own = ranges_of(row);
  const auto found = range_behind(own, position);
  return found != own.end() && found->begin <= position;
}

bool AttentionMask::any_sees(int first_row, int last_row, int from, int to) const {
  if (!has_ranges() || to > base) return true;
  for (int row = first_row; row <= last_row; ++row) {
    const std::span<const PositionRange> own = ranges_of(row);
    const auto found = range_behind(own, std::max(from, lowest_of(row)));
    if (found != own.end() && found->begin < to) return true;
  }
  return false;
}

// Ancestors stand behind one another.
int AttentionMask::position_of(int row, int column) const {
  if (column < base || marks.empty()) return column;
  int position = std::max(base, lowest_of(row));
  for (int before = base; before < column; ++before) position += on_path(row, before) ? 1 : 0;
  return position;
}

int AttentionMask::count(int row) const {
  if (all) return end - first;
  int seen = std::max(base - lowest_of(row), 0);
  if (has_ranges()) {
    seen = 0;
    for (const PositionRange& range : ranges_of(row))
      seen += std::max(std::min(range.end, base) - std::max(range.begin, lowest_of(row)), 0);
  }
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
  if (has_ranges())
    for (const int row : chosen) out.add_ranges(ranges_of(row));
  if (marks.empty() && !chosen.empty() && chosen.back() - chosen.front() == out.rows - 1) {
    if (!lowest.empty()) out.lowest.assign(lowest.begin() + chosen.front(), lowest.begin() + chosen.back() + 1);
    out.behind = behind + rows - 1 - chosen.back();
    return out;
  }
  out.marks.reserve(chosen.size() * static_cast<std::size_t>(end - base));
  for (const int row : chosen) {
    if (!lowest.empty()) out.lowest.push_back(lowest_of(row));
    for (int column = base; column < end; ++column) out.marks.push_back(on_path(row, column) ? 1 : 0);
  }
  return out;
}

AttentionMask AttentionMask::without(std::span<const int> hidden) const {
  FORETELL_CHECK(!has_ranges(), "{} positions are hidden where rows see ranges", hidden.size());
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
    for (int column = has_ranges() ? first : base; column < end; ++column)
      if (!sees(row, column)) values[column - first] = -std::numeric_limits<float>::infinity();
  }
  return mask_ = mask.to(options);
}

}  // namespace foretell::kernels::attention
