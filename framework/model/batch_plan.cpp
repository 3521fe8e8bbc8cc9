#include "framework/model/batch_plan.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "framework/base/error.h"

namespace foretell {
namespace {

// Which of the last `columns` cache rows each row of an item sees; all see what lies below.
class Visible {
 public:
  Visible(int rows, int columns) : rows_(rows), columns_(columns), seen_(std::size_t(rows) * columns, 0) {}
  void set(int row, int column) { seen_[std::size_t(row) * columns_ + column] = 1; }
  bool get(int row, int column) const { return seen_[std::size_t(row) * columns_ + column] != 0; }
  void copy_row(int to, int from) {
    std::copy_n(seen_.begin() + std::ptrdiff_t(from) * columns_, columns_, seen_.begin() + std::ptrdiff_t(to) * columns_);
  }

  // The additive mask of the rows from `first_row` on over `width` cache rows. [1, 1, rows, width]
  at::Tensor mask(int first_row, int width, const at::TensorOptions& options) const {
    const int rows = rows_ - first_row;
    at::Tensor mask = at::zeros({1, 1, rows, width}, at::kFloat);
    float* values = mask.mutable_data_ptr<float>();
    for (int row = 0; row < rows; ++row) {
      float* own = values + std::size_t(row) * width + (width - columns_);
      for (int column = 0; column < columns_; ++column) {
        if (!get(first_row + row, column)) own[column] = -std::numeric_limits<float>::infinity();
      }
    }
    return mask.to(options);
  }

 private:
  int rows_;
  int columns_;
  std::vector<char> seen_;
};

void plan_chain(int first_position, const at::TensorOptions& options, ItemPlan& plan, std::vector<int>& positions) {
  for (int row = 0; row < plan.rows; ++row) positions.push_back(first_position + row);
  plan.causal = plan.rows > 1 && plan.start == 0;
  if (plan.rows <= 1 || plan.causal) return;
  Visible visible(plan.rows, plan.rows);
  for (int row = 0; row < plan.rows; ++row) {
    for (int column = 0; column <= row; ++column) visible.set(row, column);
  }
  plan.mask = visible.mask(0, plan.start + plan.rows, options);
}

void plan_tree(const TreeShape& tree, const at::TensorOptions& options, ItemPlan& plan, std::vector<int>& positions) {
  const int size = static_cast<int>(tree.parents.size());
  const int base = plan.start - tree.cached_rows;
  FORETELL_CHECK(tree.cached_rows >= 0 && tree.cached_rows + plan.rows == size && base >= 0,
                 "a tree of {} rows, {} cached, {} given, {} in the cache", size, tree.cached_rows, plan.rows, plan.start);
  Visible visible(size, size);
  std::vector<int> depth(size, 0);
  bool is_chain = true;
  for (int row = 0; row < size; ++row) {
    const int parent = tree.parents[row];
    FORETELL_CHECK(row == 0 ? parent == 0 : parent >= 0 && parent < row, "row {} of a tree follows row {}", row, parent);
    if (row > 0) {
      visible.copy_row(row, parent);
      depth[row] = depth[parent] + 1;
      is_chain = is_chain && parent == row - 1;
    }
    visible.set(row, row);
    if (row >= tree.cached_rows) positions.push_back(base + depth[row]);
  }
  if (is_chain && plan.rows == 1) return;
  if (plan.rows > 0) plan.mask = visible.mask(tree.cached_rows, base + size, options);
}

void plan_masked(const MaskedShape& shape, const at::TensorOptions& options, ItemPlan& plan, std::vector<int>& positions) {
  FORETELL_CHECK(static_cast<int>(shape.positions.size()) == plan.rows, "{} positions for {} rows", shape.positions.size(), plan.rows);
  FORETELL_CHECK(shape.visible.dim() == 2 && shape.visible.size(0) == plan.rows && shape.visible.size(1) == plan.rows,
                 "a mask of {} dimensions for {} rows", shape.visible.dim(), plan.rows);
  positions.insert(positions.end(), shape.positions.begin(), shape.positions.end());
  const at::Tensor seen = shape.visible.to(at::kCPU, at::kBool);
  const auto access = seen.accessor<bool, 2>();
  Visible visible(plan.rows, plan.rows);
  for (int row = 0; row < plan.rows; ++row) {
    bool any = plan.start > 0;
    for (int column = 0; column < plan.rows; ++column) {
      if (!access[row][column]) continue;
      visible.set(row, column);
      any = true;
    }
    FORETELL_CHECK(any, "row {} sees nothing", row);
  }
  if (plan.rows > 0) plan.mask = visible.mask(0, plan.start + plan.rows, options);
}

TransformerCache* own_cache(KvCache* cache) {
  auto* own = dynamic_cast<TransformerCache*>(cache);
  FORETELL_CHECK(own != nullptr, "an item's cache was not made by a Transformer");
  return own;
}

void add_angles(const PlanContext& context, BatchPlan& plan) {
  if (context.frequencies.empty()) return;
  const bool wide = context.options.dtype() == at::kDouble;
  const at::TensorOptions options = at::TensorOptions().dtype(wide ? at::kDouble : at::kFloat);
  plan.cosines = at::empty({plan.rows, static_cast<std::int64_t>(context.frequencies.size())}, options);
  plan.sines = at::empty_like(plan.cosines);
  const auto fill = [&](auto* cosines, auto* sines) {
    rope_angles(plan.positions, context.frequencies, context.magnitude, cosines, sines);
  };
  wide ? fill(plan.cosines.mutable_data_ptr<double>(), plan.sines.mutable_data_ptr<double>())
       : fill(plan.cosines.mutable_data_ptr<float>(), plan.sines.mutable_data_ptr<float>());
  if (context.options.device().is_cpu()) return;
  plan.cosines = plan.cosines.to(context.options.device());
  plan.sines = plan.sines.to(context.options.device());
}

}  // namespace

int input_rows(const Input& input) {
  if (const auto* tokens = std::get_if<TokenSpan>(&input)) return static_cast<int>(tokens->size());
  return static_cast<int>(std::get<at::Tensor>(input).size(0));
}

BatchPlan plan_batch(std::span<const ForwardItem> batch, const PlanContext& context) {
  BatchPlan plan;
  for (const ForwardItem& item : batch) {
    ItemPlan rows;
    rows.offset = plan.rows;
    rows.rows = input_rows(item.input);
    rows.cache = own_cache(item.cache);
    rows.start = rows.cache->length(context.layers);
    FORETELL_CHECK(rows.start + rows.rows <= rows.cache->capacity(), "{} rows onto {} in a cache of {}", rows.rows, rows.start,
                   rows.cache->capacity());
    for (const ItemPlan& other : plan.items) FORETELL_CHECK(other.cache != rows.cache, "two items share a cache");
    rows.attention = item.attention;
    rows.below = rows.start;
    if (const auto* tree = std::get_if<TreeShape>(&item.shape)) {
      rows.below -= tree->cached_rows;
      rows.drafted = true;
      plan_tree(*tree, context.options, rows, plan.positions);
    } else if (const auto* masked = std::get_if<MaskedShape>(&item.shape)) {
      plan_masked(*masked, context.options, rows, plan.positions);
    } else {
      plan_chain(rows.start, context.options, rows, plan.positions);
    }
    plan.rows += rows.rows;
    plan.items.push_back(std::move(rows));
  }
  for (const int position : plan.positions) {
    FORETELL_CHECK(position >= 0, "position {}", position);
    if (position >= context.context) fail("position {} is beyond the model's context of {} tokens", position, context.context);
  }
  add_angles(context, plan);
  return plan;
}

}  // namespace foretell
