// What every layer of one forward needs to know about its rows, worked out once.
//
// Contract: rows of all items are concatenated in the items' order. An item's rows are written to its cache from row
// `start` on and see the cache as far as `mask` allows. A window counts positions, not cache rows: siblings of a tree
// see equally far. Cheap to build: masks exist only where a library's operator asks for one, and then once a forward.
// Where rows enter or leave at different layers, a layer is given the plan of its own rows (select()).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "framework/kernels/attention/attention_mask.h"
#include "framework/kernels/head_layout.h"
#include "framework/model/language_model.h"
#include "framework/model/rope.h"
#include "framework/model/transformer_cache.h"

namespace foretell::model {

struct ItemPlan {
  int offset = 0;  // of its first row in the batch
  int rows = 0;
  int start = 0;    // the cache row that its first row is written to
  int resumed = 0;  // of its rows the first ones that the cache holds already: they enter above the first layer
  std::vector<int> cache_rows = {};  // by row, where they are not start, start + 1, ...
  TransformerCache* cache = nullptr;
  kernels::attention::AttentionMask seen = {};
  std::optional<kernels::attention::AttentionMask> windowed = {};  // in windowed layers, if that is less
  ItemAttention attention = {};
  int below =
      0;  // cache rows that an attention policy may choose from: all but the item's own and the cached ones of its tree
  bool drafted = false;  // the rows are nodes of a tree
  bool scored = false;   // as ForwardItem's

  int cache_row(int row) const { return cache_rows.empty() ? start + row : cache_rows[static_cast<std::size_t>(row)]; }
};

struct BatchPlan {
  int rows = 0;
  std::vector<ItemPlan> items;
  std::vector<int> positions;  // of all rows
  // By row, as ForwardItem's; empty where no row of the forward differs from the others.
  std::vector<int> enters, leaves;
  // For routers, empty where none but the checkpoint's is asked: by row its token, -1 where it is not known, and the
  // row that it follows, -1 where that is none of the forward's.
  std::vector<Token> tokens;
  std::vector<int> parents;
  ForwardProbe* probe = nullptr;  // as ForwardOptions'
  at::Tensor
      cosines;  // float32, or float64 as the activations, [rows, rotary_dim / 2]; undefined without rotary embedding
  at::Tensor sines;

  // The plan of some of the rows, which are increasing. They are at the same cache rows.
  BatchPlan select(std::span<const int> chosen) const;
};

// What the item's rows see in a layer of this layout.
inline const kernels::attention::AttentionMask& seen_in_layer(const ItemPlan& item, const kernels::HeadLayout& layout) {
  return layout.windowed && item.windowed ? *item.windowed : item.seen;
}

// Turns queries and keys of qkv [rows, layout.width()] in place by the plan's angles (if it has any) and writes keys
// and values into the items' caches at `layer`.
void rotate_and_store(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer);
void rotate_and_store_aten(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer);

// How the rows of this model's forward are rotated and typed.
struct PlanContext {
  LayerRange layers;
  int context = 0;  // positions that the model has
  std::span<const double> frequencies;
  double magnitude = 1;
  at::TensorOptions options;  // of the activations
  int window = 0;             // positions that windowed layers see; 0: there are no such layers
  bool routed = false;        // a router may ask for tokens and parents
};

// An Error for a position beyond the context; an InternalError for a shape or a cache that does not fit.
BatchPlan plan_batch(std::span<const ForwardItem> batch, const PlanContext& context);

int item_rows(const ForwardItem& item);

// The rows of a forward that one layer works on, apart from the others. choose() names the rows that the next operation
// works on; while these are all rows, state() is the forward's own tensor and plan() its own plan, and nothing is
// copied. Rows that are apart go back to the forward's tensor with join(), and with the next choose() that names
// others.
class LayerRows {
 public:
  // `all` [rows, hidden]: the states of the forward's rows.
  LayerRows(at::Tensor& all, const BatchPlan& plan) : all_(all), plan_(plan) {}

  void choose(std::vector<int> rows);  // increasing
  void join();
  bool empty() const { return !everything_ && rows_.empty(); }
  at::Tensor& state() { return everything_ ? all_ : apart_; }
  const BatchPlan& plan() const { return everything_ ? plan_ : part_; }

 private:
  at::Tensor& all_;
  const BatchPlan& plan_;
  std::vector<int> rows_;  // that were chosen, unless it is everything
  bool everything_ = true;
  at::Tensor apart_, index_;
  BatchPlan part_;
};

}  // namespace foretell::model
