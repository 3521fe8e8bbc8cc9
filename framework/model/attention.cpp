#include "framework/model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace foretell {
namespace {

// One item. The key heads stand where a batch usually does, and a group's query heads where heads do: keys and values are then broadcast over the
// group by a stride of zero. A single row that sees everything needs no mask, so its group becomes the rows of one matrix product.
at::Tensor attend_item(const at::Tensor& queries, const ItemPlan& item, const HeadLayout& layout, int layer, double scale) {
  const std::int64_t group = layout.heads / layout.kv_heads;
  const std::int64_t length = item.start + item.rows;
  const at::Tensor keys = item.cache->keys(layer).narrow(1, 0, length).unsqueeze(1);  // [kv_heads, 1, length, head_dim]
  const at::Tensor values = item.cache->values(layer).narrow(1, 0, length).unsqueeze(1);
  const at::Tensor grouped = queries.view({item.rows, layout.kv_heads, group, layout.head_dim});
  if (item.rows == 1 && !item.mask.defined()) {
    return at::scaled_dot_product_attention(grouped.transpose(0, 1), keys, values, {}, 0.0, false, scale)
        .reshape({1, layout.heads * layout.head_dim});
  }
  const auto broadcast = [group](const at::Tensor& t) { return t.expand({t.size(0), group, t.size(2), t.size(3)}); };
  const auto mask = item.mask.defined() ? std::optional(item.mask) : std::nullopt;
  const at::Tensor out = at::scaled_dot_product_attention(grouped.permute({1, 2, 0, 3}), broadcast(keys), broadcast(values), mask, 0.0,
                                                          item.causal, scale);  // [kv_heads, group, rows, head_dim]
  return out.permute({2, 0, 1, 3}).reshape({item.rows, layout.heads * layout.head_dim});
}

}  // namespace

at::Tensor attend(const at::Tensor& qkv, const HeadLayout& layout, const BatchPlan& plan, int layer, double scale) {
  const std::int64_t width = std::int64_t{layout.heads} * layout.head_dim;
  const at::Tensor queries = qkv.narrow(1, 0, width);
  if (plan.items.size() == 1) return attend_item(queries, plan.items[0], layout, layer, scale);
  at::Tensor out = at::empty({plan.rows, width}, qkv.options());
  for (const ItemPlan& item : plan.items) {
    if (item.rows == 0) continue;
    out.narrow(0, item.offset, item.rows).copy_(attend_item(queries.narrow(0, item.offset, item.rows), item, layout, layer, scale));
  }
  return out;
}

}  // namespace foretell
