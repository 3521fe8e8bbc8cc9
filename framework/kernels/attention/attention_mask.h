/// Which rows of a KV cache the rows of a forward pass attend to, without a [queries, keys] matrix.
///
/// Contract: a value that is worked out once for each sequence of a forward; the matrix exists only where a library's
/// operator asks for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <vector>

namespace foretell::kernels::attention {

// Which cache rows the rows of an item see, without a matrix over the whole cache: row r sees those from lowest_of(r)
// to `base`, and of the item's own, which are [base, end), those that are marked. In a chain a window may begin among
// the item's own. In a tree a row whose window does has the first of its ancestors that it sees at that place. With
// ranges a row sees of these only positions that lie in one of its own; an ancestor's position is its place on the
// path. Positions [begin, end).
struct PositionRange {
  int begin, end;
};

class AttentionMask {
 public:
  int rows = 0;
  int first = 0;  // nobody sees what lies below
  int base = 0;
  int end = 0;
  bool all = false;                   // every row sees [first, end)
  std::vector<int> lowest;            // one a row; empty: `first` for all
  std::vector<char> marks;            // [rows, end - base]; empty: a chain, whose last row is end - behind - 1
  int behind = 0;                     // rows of a chain that follow the last one of these
  at::TensorOptions options;          // of the mask
  std::vector<PositionRange> ranges;  // of all rows, one row's behind the other's: disjoint and increasing
  std::vector<int> range_ends;        // by row: behind its last one in `ranges`; empty: there are none

  int lowest_of(int row) const { return lowest.empty() ? first : lowest[static_cast<std::size_t>(row)]; }
  int chain_end(int row) const { return end - behind - rows + row + 1; }  // what a row of a chain sees lies below
  bool has_ranges() const { return !range_ends.empty(); }
  std::span<const PositionRange> ranges_of(int row) const {
    const auto at = static_cast<std::size_t>(row);
    const int from = row == 0 ? 0 : range_ends[at - 1];
    return std::span(ranges).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(range_ends[at] - from));
  }
  // Adds those of the next row, which has to be in one of them.
  void add_ranges(std::span<const PositionRange> of_row);
  bool in_ranges(int row, int position) const;
  // Whether one of the rows [first_row, last_row] may see one of these positions.
  bool any_sees(int first_row, int last_row, int from, int to) const;
  bool sees(int row, int column) const {
    return on_path(row, column) && (!has_ranges() || in_ranges(row, position_of(row, column)));
  }
  // The same without ranges.
  bool on_path(int row, int column) const {
    if (column < base || marks.empty()) return column >= lowest_of(row) && (column < base || column < chain_end(row));
    return marks[static_cast<std::size_t>(row) * static_cast<std::size_t>(end - base) +
                 static_cast<std::size_t>(column - base)] != 0;
  }
  int count(int row) const;  // rows of the cache that it sees
  // Rows 0, 1, ... of an empty cache, which libraries have a flag for.
  bool is_causal() const { return marks.empty() && lowest.empty() && first == 0 && end == rows && behind == 0; }
  // What some of the rows see, in their order.
  AttentionMask select(std::span<const int> chosen) const;
  // The same without some rows of the cache (increasing), which nobody sees.
  AttentionMask without(std::span<const int> hidden) const;
  // The same as an additive matrix [1, 1, rows, end - first], made when it is first asked for (by one thread);
  // undefined if `all`.
  const at::Tensor& mask() const;

 private:
  int position_of(int row, int column) const;

  mutable at::Tensor mask_;
};

}  // namespace foretell::kernels::attention
