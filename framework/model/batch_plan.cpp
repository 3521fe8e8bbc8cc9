#include "framework/model/batch_plan.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

#include "framework/core/error.h"
#include "framework/kernels/kernels.h"

namespace foretell::model {
namespace {

// Which of the last `columns` cache rows each row of an item sees; all see what lies below.
class Visible {
 public:
  Visible(int rows, int columns) : columns_(columns), seen_(std::size_t(rows) * columns, 0) {}
  void set(int row, int column) { seen_[std::size_t(row) * columns_ + column] = 1; }
  bool get(int row, int column) const { return seen_[std::size_t(row) * columns_ + column] != 0; }
  void copy_row(int to, int from) {
    std::copy_n(seen_.begin() + std::ptrdiff_t(from) * columns_, columns_,
                seen_.begin() + std::ptrdiff_t(to) * columns_);
  }

  // Of the rows from `first_row` on.
  std::vector<char> marks_from(int first_row) const {
    return {seen_.begin() + std::ptrdiff_t(first_row) * columns_, seen_.end()};
  }

 private:
  int columns_;
  std::vector<char> seen_;
};

// What is known about an item's rows while they are planned. The last cache rows, `own` of them, are the item's own:
// the rows of its tree that were cached before, and those of this forward. All rows see all that lies below.
struct PlannedRows {
  std::vector<int> positions;      // of its own cache rows
  std::optional<Visible> visible;  // without it row i sees rows 0 to i
  int first_row = 0;               // of this forward
  bool all = false;                // every row sees everything
  bool free = false;               // positions are the caller's

  bool sees(int row, int column) const { return visible ? visible->get(row, column) : column <= row; }
};

PlannedRows plan_chain(const ItemPlan& plan) {
  PlannedRows rows;
  for (int row = 0; row < plan.rows; ++row) rows.positions.push_back(plan.start + row);
  rows.all = plan.rows <= 1;
  return rows;
}

PlannedRows plan_tree(const TreeShape& tree, const ItemPlan& plan) {
  const int size = static_cast<int>(tree.parents.size());
  const int base = plan.start - tree.cached_rows;
  FORETELL_CHECK(tree.cached_rows >= 0 && tree.cached_rows + plan.rows == size && base >= 0,
                 "a tree of {} rows, {} cached, {} given, {} in the cache", size, tree.cached_rows, plan.rows,
                 plan.start);
  PlannedRows rows{std::vector<int>(static_cast<std::size_t>(size), base), Visible(size, size), tree.cached_rows};
  bool is_chain = true;
  for (int row = 0; row < size; ++row) {
    const int parent = tree.parents[row];
    FORETELL_CHECK(row == 0 ? parent == 0 : parent >= 0 && parent < row, "row {} of a tree follows row {}", row,
                   parent);
    if (row > 0) {
      rows.visible->copy_row(row, parent);
      rows.positions[row] = rows.positions[parent] + 1;
      is_chain = is_chain && parent == row - 1;
    }
    rows.visible->set(row, row);
  }
  if (is_chain) rows.visible.reset();
  rows.all = is_chain && plan.rows <= 1;
  return rows;
}

PlannedRows plan_masked(const MaskedShape& shape, const ItemPlan& plan) {
  FORETELL_CHECK(static_cast<int>(shape.positions.size()) == plan.rows, "{} positions for {} rows",
                 shape.positions.size(), plan.rows);
  FORETELL_CHECK(shape.visible.dim() == 2 && shape.visible.size(0) == plan.rows && shape.visible.size(1) == plan.rows,
                 "a mask of {} dimensions for {} rows", shape.visible.dim(), plan.rows);
  const at::Tensor seen = shape.visible.to(at::kCPU, at::kBool);
  const auto access = seen.accessor<bool, 2>();
  PlannedRows rows{shape.positions, Visible(plan.rows, plan.rows)};
  rows.free = true;
  for (int row = 0; row < plan.rows; ++row) {
    bool any = plan.start > 0;
    for (int column = 0; column < plan.rows; ++column) {
      if (!access[row][column]) continue;
      rows.visible->set(row, column);
      any = true;
    }
    FORETELL_CHECK(any, "row {} sees nothing", row);
  }
  return rows;
}

PlannedRows plan_rows(const Shape& shape, const ItemPlan& plan) {
  if (const auto* tree = std::get_if<TreeShape>(&shape)) return plan_tree(*tree, plan);
  if (const auto* masked = std::get_if<MaskedShape>(&shape)) return plan_masked(*masked, plan);
  return plan_chain(plan);
}

kernels::attention::AttentionMask seen_rows(const PlannedRows& rows, const ItemPlan& plan,
                                            const at::TensorOptions& options) {
  kernels::attention::AttentionMask seen;
  seen.rows = plan.rows;
  seen.end = plan.start + plan.rows;
  seen.base = seen.end - static_cast<int>(rows.positions.size());
  seen.all = rows.all;
  seen.options = options;
  if (rows.visible && !rows.all) seen.marks = rows.visible->marks_from(rows.first_row);
  return seen;
}

// Cache rows below the item's own hold committed text, whose positions are their indices.
std::optional<kernels::attention::AttentionMask> seen_in_window(const PlannedRows& rows,
                                                                const kernels::attention::AttentionMask& unlimited,
                                                                int window) {
  const std::span<const int> own(rows.positions);
  const std::span<const int> asked = own.subspan(static_cast<std::size_t>(rows.first_row));
  if (asked.empty() || std::ranges::max(asked) < window) return std::nullopt;
  kernels::attention::AttentionMask seen = unlimited;
  seen.first = std::clamp(std::ranges::min(asked) - window + 1, 0, seen.base);
  if (unlimited.all && seen.first == asked[0] - window + 1) return seen;
  seen.all = false;
  // Rows of a chain or a tree stand behind the cache, one that is below the window's first one at a place of its own.
  const int highest = rows.free ? seen.base : seen.end - 1;
  for (const int position : asked) seen.lowest.push_back(std::clamp(position - window + 1, seen.first, highest));
  if (!rows.visible) return seen;
  seen.marks.assign(asked.size() * own.size(), 0);
  for (std::size_t row = 0; row < asked.size(); ++row) {
    const int oldest = asked[row] - window + 1;
    bool any = seen.lowest[row] < seen.base;
    for (std::size_t column = 0; column < own.size(); ++column) {
      if (own[column] < oldest || !rows.sees(rows.first_row + static_cast<int>(row), static_cast<int>(column)))
        continue;
      seen.marks[row * own.size() + column] = 1;
      any = true;
    }
    FORETELL_CHECK(any, "row {} sees nothing within a window of {}", row, window);
  }
  return seen;
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

namespace {

std::vector<kernels::StoredRows> stored_rows(const BatchPlan& plan, int layer) {
  std::vector<kernels::StoredRows> out;
  out.reserve(plan.items.size());
  for (const ItemPlan& item : plan.items) {
    if (item.rows > 0)
      out.push_back({item.offset, item.rows, item.start, item.cache->keys(layer), item.cache->values(layer),
                     item.cache_rows, item.cache->rows(layer).key_scales, item.cache->rows(layer).value_scales});
  }
  return out;
}

}  // namespace

void rotate_and_store(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer) {
  rotate_and_store(qkv, layout, plan.cosines, plan.sines, stored_rows(plan, layer));
}

void rotate_and_store_aten(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer) {
  rotate_and_store_aten(qkv, layout, plan.cosines, plan.sines, stored_rows(plan, layer));
}

int item_rows(const ForwardItem& item) {
  if (!item.enters.empty()) return static_cast<int>(item.enters.size());
  if (const auto* tokens = std::get_if<TokenSpan>(&item.input)) return static_cast<int>(tokens->size());
  return static_cast<int>(std::get<at::Tensor>(item.input).size(0));
}

namespace {

// How many of the item's rows, which are its first, enter above the first layer.
int resumed_rows(const ForwardItem& item, LayerRange layers) {
  int resumed = 0;
  bool above = true;
  for (const int layer : item.enters) {
    FORETELL_CHECK(layer >= layers.first && layer <= layers.last && (above || layer == layers.first),
                   "a row enters layer {} of [{}, {}){}", layer, layers.first, layers.last,
                   above ? "" : ", behind one that enters the first");
    above = layer > layers.first;
    resumed += above ? 1 : 0;
  }
  if (item.enters.empty()) return 0;
  FORETELL_CHECK(item.tokens.size() == item.enters.size() && std::holds_alternative<at::Tensor>(item.input) &&
                     std::get<at::Tensor>(item.input).size(0) == resumed,
                 "{} rows enter, {} of them with a state, beside {} tokens", item.enters.size(), resumed,
                 item.tokens.size());
  return resumed;
}

void add_intervals(std::span<const ForwardItem> batch, LayerRange layers, BatchPlan& plan) {
  const auto fill = [&](std::vector<int>& by_row, std::span<const int> ForwardItem::*of, int otherwise) {
    if (std::ranges::none_of(batch, [of](const ForwardItem& item) { return !(item.*of).empty(); })) return;
    by_row.assign(static_cast<std::size_t>(plan.rows), otherwise);
    for (std::size_t i = 0; i < batch.size(); ++i)
      std::ranges::copy(batch[i].*of, by_row.begin() + plan.items[i].offset);
  };
  for (std::size_t i = 0; i < batch.size(); ++i) {
    FORETELL_CHECK(batch[i].leaves.empty() || static_cast<int>(batch[i].leaves.size()) == plan.items[i].rows,
                   "{} of {} rows leave", batch[i].leaves.size(), plan.items[i].rows);
    for (const int layer : batch[i].leaves)
      FORETELL_CHECK(layer > layers.first && layer <= layers.last, "a row leaves after layer {} of [{}, {})", layer,
                     layers.first, layers.last);
  }
  fill(plan.enters, &ForwardItem::enters, layers.first);
  fill(plan.leaves, &ForwardItem::leaves, layers.last);
}

}  // namespace

namespace {

void select_routed(const BatchPlan& all, std::span<const int> chosen, BatchPlan& out) {
  std::vector<int> new_row(all.tokens.size(), -1);
  for (std::size_t i = 0; i < chosen.size(); ++i) new_row[static_cast<std::size_t>(chosen[i])] = static_cast<int>(i);
  for (const int row : chosen) {
    const int parent = all.parents[static_cast<std::size_t>(row)];
    out.tokens.push_back(all.tokens[static_cast<std::size_t>(row)]);
    out.parents.push_back(parent < 0 ? -1 : new_row[static_cast<std::size_t>(parent)]);
  }
}

// What routers may look at besides positions.
void add_routed(const ForwardItem& item, const ItemPlan& rows, BatchPlan& plan) {
  const auto* entered = std::get_if<TokenSpan>(&item.input);
  const TokenSpan tokens = entered ? *entered : item.tokens;
  FORETELL_CHECK(tokens.empty() || static_cast<int>(tokens.size()) == rows.rows, "{} tokens of {} rows", tokens.size(),
                 rows.rows);
  plan.tokens.insert(plan.tokens.end(), tokens.begin(), tokens.end());
  plan.tokens.resize(static_cast<std::size_t>(rows.offset) + static_cast<std::size_t>(rows.rows), Token{-1});
  const auto* tree = std::get_if<TreeShape>(&item.shape);
  for (int row = 0; row < rows.rows; ++row) {
    const int node = row + (tree ? tree->cached_rows : 0);
    const int before = tree ? tree->parents[static_cast<std::size_t>(node)] - tree->cached_rows : row - 1;
    const bool here = before >= 0 && before < row && !std::holds_alternative<MaskedShape>(item.shape);
    plan.parents.push_back(here ? rows.offset + before : -1);
  }
}

}  // namespace

BatchPlan BatchPlan::select(std::span<const int> chosen) const {
  BatchPlan out;
  out.rows = static_cast<int>(chosen.size());
  out.probe = probe;
  out.positions.reserve(chosen.size());
  for (const int row : chosen) out.positions.push_back(positions[static_cast<std::size_t>(row)]);
  auto next = chosen.begin();
  for (const ItemPlan& item : items) {
    std::vector<int> own;  // counted from the item's first
    for (; next != chosen.end() && *next < item.offset + item.rows; ++next) own.push_back(*next - item.offset);
    if (own.empty()) continue;
    ItemPlan& part = out.items.emplace_back();
    part.offset = static_cast<int>(next - chosen.begin()) - static_cast<int>(own.size());
    part.rows = static_cast<int>(own.size());
    part.start = item.start + own.front();
    for (const int row : own) part.cache_rows.push_back(item.cache_row(row));
    part.cache = item.cache;
    part.seen = item.seen.select(own);
    if (item.windowed) part.windowed = item.windowed->select(own);
    part.attention = item.attention;
    part.below = item.below;
    part.drafted = item.drafted;
    part.scored = item.scored;
  }
  if (!tokens.empty()) select_routed(*this, chosen, out);
  if (!cosines.defined()) return out;
  const at::Tensor index =
      at::tensor(std::vector<std::int64_t>(chosen.begin(), chosen.end()), at::kLong).to(cosines.device());
  out.cosines = cosines.index_select(0, index);
  out.sines = sines.index_select(0, index);
  return out;
}

BatchPlan plan_batch(std::span<const ForwardItem> batch, const PlanContext& context) {
  BatchPlan plan;
  for (const ForwardItem& item : batch) {
    ItemPlan rows;
    rows.offset = plan.rows;
    rows.rows = item_rows(item);
    rows.cache = own_cache(item.cache);
    rows.resumed = resumed_rows(item, context.layers);
    rows.start = rows.cache->length(context.layers) - rows.resumed;
    FORETELL_CHECK(rows.start >= 0, "{} rows are resumed, fewer are in the cache", rows.resumed);
    FORETELL_CHECK(rows.start + rows.rows <= rows.cache->capacity(), "{} rows onto {} in a cache of {}", rows.rows,
                   rows.start, rows.cache->capacity());
    for (const ItemPlan& other : plan.items) FORETELL_CHECK(other.cache != rows.cache, "two items share a cache");
    rows.attention = item.attention;
    rows.scored = item.scored;
    rows.below = rows.start;
    if (const auto* tree = std::get_if<TreeShape>(&item.shape)) {
      rows.below -= tree->cached_rows;
      rows.drafted = true;
    }
    FORETELL_CHECK(!rows.attention.policy || context.window == 0,
                   "an attention policy on a model with a sliding window of {}", context.window);
    const PlannedRows planned = plan_rows(item.shape, rows);
    plan.positions.insert(plan.positions.end(), planned.positions.begin() + planned.first_row, planned.positions.end());
    rows.seen = seen_rows(planned, rows, context.options);
    if (context.window > 0) rows.windowed = seen_in_window(planned, rows.seen, context.window);
    if (context.routed) add_routed(item, rows, plan);
    plan.rows += rows.rows;
    plan.items.push_back(std::move(rows));
  }
  add_intervals(batch, context.layers, plan);
  for (const int position : plan.positions) {
    FORETELL_CHECK(position >= 0, "position {}", position);
    if (position >= context.context)
      fail("position {} is beyond the model's context of {} tokens", position, context.context);
  }
  add_angles(context, plan);
  return plan;
}

void LayerRows::choose(std::vector<int> rows) {
  const bool everything = static_cast<int>(rows.size()) == plan_.rows;
  if (everything == everything_ && (everything || rows == rows_)) return;
  join();
  rows_ = std::move(rows);
  everything_ = everything;
  if (everything_ || rows_.empty()) return;
  index_ = at::tensor(std::vector<std::int64_t>(rows_.begin(), rows_.end()), at::kLong).to(all_.device());
  apart_ = all_.index_select(0, index_);
  part_ = plan_.select(rows_);
}

void LayerRows::join() {
  if (!everything_ && !rows_.empty()) all_.index_copy_(0, index_, apart_);
}

}  // namespace foretell::model
