// What every layer of one forward needs to know about its rows, worked out once.
//
// Contract: rows of all items are concatenated in the items' order. An item's rows are written to its cache from row
// `start` on and see the cache as far as `mask` allows. A window counts positions, not cache rows: siblings of a tree
// see equally far. Cheap to build: masks exist only where a library's operator asks for one, and then once a forward.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "framework/kernels/attention_mask.h"
#include "framework/kernels/head_layout.h"
#include "framework/model/language_model.h"
#include "framework/model/rope.h"
#include "framework/model/transformer_cache.h"

namespace foretell::model {

struct ItemPlan {
  int offset = 0;  // of its first row in the batch
  int rows = 0;
  int start = 0;  // the cache row that its first row is written to
  TransformerCache* cache = nullptr;
  kernels::SeenRows seen = {};
  std::optional<kernels::SeenRows> windowed = {};  // in windowed layers, if that is less
  ItemAttention attention = {};
  int below =
      0;  // cache rows that an attention policy may choose from: all but the item's own and the cached ones of its tree
  bool drafted = false;  // the rows are nodes of a tree
};

struct BatchPlan {
  int rows = 0;
  std::vector<ItemPlan> items;
  std::vector<int> positions;  // of all rows
  at::Tensor
      cosines;  // float32, or float64 as the activations, [rows, rotary_dim / 2]; undefined without rotary embedding
  at::Tensor sines;
};

// What the item's rows see in a layer of this layout.
inline const kernels::SeenRows& seen_in_layer(const ItemPlan& item, const kernels::HeadLayout& layout) {
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
};

// An Error for a position beyond the context; an InternalError for a shape or a cache that does not fit.
BatchPlan plan_batch(std::span<const ForwardItem> batch, const PlanContext& context);

int input_rows(const Input& input);

}  // namespace foretell::model
