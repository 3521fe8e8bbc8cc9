// What every layer of one forward needs to know about its rows, worked out once.
//
// Contract: rows of all items are concatenated in the items' order. An item's rows are written to its cache from row `start` on and see the cache
// as far as `mask` allows. A window counts positions, not cache rows: siblings of a tree see equally far. Cheap to build:
// masks exist only where a library's operator asks for one, and then once a forward.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "framework/model/language_model.h"
#include "framework/model/rope.h"
#include "framework/model/transformer_cache.h"

namespace foretell {

// Which cache rows the rows of an item see, without a matrix over the whole cache: row r sees those from lowest_of(r) to `base`, and of the item's
// own, which are [base, end), those that are marked.
class SeenRows {
 public:
  int rows = 0;
  int first = 0;  // nobody sees what lies below
  int base = 0;
  int end = 0;
  bool all = false;           // every row sees [first, end)
  std::vector<int> lowest;    // one a row; empty: `first` for all
  std::vector<char> marks;    // [rows, end - base]; empty: a chain, whose last row is end - 1
  at::TensorOptions options;  // of the mask

  int lowest_of(int row) const { return lowest.empty() ? first : lowest[static_cast<std::size_t>(row)]; }
  bool sees(int row, int column) const {
    if (column < base) return column >= lowest_of(row);
    if (marks.empty()) return column >= lowest_of(row) && column <= end - rows + row;
    return marks[static_cast<std::size_t>(row) * static_cast<std::size_t>(end - base) + static_cast<std::size_t>(column - base)] != 0;
  }
  // Rows 0, 1, ... of an empty cache, which libraries have a flag for.
  bool is_causal() const { return marks.empty() && lowest.empty() && first == 0 && end == rows; }
  // The same as an additive matrix [1, 1, rows, end - first], made when it is first asked for (by one thread); undefined if `all`.
  const at::Tensor& mask() const;

 private:
  mutable at::Tensor mask_;
};

struct ItemPlan {
  int offset = 0;  // of its first row in the batch
  int rows = 0;
  int start = 0;  // the cache row that its first row is written to
  TransformerCache* cache = nullptr;
  SeenRows seen = {};
  std::optional<SeenRows> windowed = {};  // in windowed layers, if that is less
  ItemAttention attention = {};
  int below = 0;         // cache rows that an attention policy may choose from: all but the item's own and the cached ones of its tree
  bool drafted = false;  // the rows are nodes of a tree
};

struct BatchPlan {
  int rows = 0;
  std::vector<ItemPlan> items;
  std::vector<int> positions;  // of all rows
  at::Tensor cosines;          // float32, or float64 as the activations, [rows, rotary_dim / 2]; undefined without rotary embedding
  at::Tensor sines;
};

// How the rows of this model's forward are rotated and typed.
struct PlanContext {
  LayerRange layers;
  int context = 0;  // positions that the model has
  std::span<const double> frequencies;
  double magnitude = 1;
  at::TensorOptions options;  // of the activations
  int window = 0;             // positions that windowed layers see; 0: there are no such layers
};

// An Error for a position beyond the context; an InternalError for a shape or a cache that does not fit.
BatchPlan plan_batch(std::span<const ForwardItem> batch, const PlanContext& context);

int input_rows(const Input& input);

}  // namespace foretell
