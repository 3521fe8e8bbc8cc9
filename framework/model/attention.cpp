#include "framework/model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "framework/core/error.h"
#include "framework/kernels/few_row_attention.h"

namespace foretell::model {
namespace {

constexpr std::int64_t kWatchedQueries =
    64;  // whose weights are in memory at a time: a long prompt never holds [prompt, prompt]

// What an item's queries look at in one layer.
struct Attended {
  at::Tensor keys;  // [kv_heads, columns, head_dim]
  at::Tensor values;
  at::Tensor mask;  // as ItemPlan's, over these columns
  bool causal;
};

// All that the item may see: in a windowed layer from the window's first row on.
Attended whole_cache(const ItemPlan& item, const kernels::AttentionMask& seen, int layer) {
  const bool causal = seen.is_causal() && seen.rows > 1;
  const std::int64_t length = seen.end - seen.first;
  return {item.cache->keys(layer).narrow(1, seen.first, length),
          item.cache->values(layer).narrow(1, seen.first, length), causal ? at::Tensor() : seen.mask(), causal};
}

// The key heads stand where a batch usually does, and a group's query heads where heads do: keys and values are then
// broadcast over the group by a stride of zero. A single row that sees everything needs no mask, so its group becomes
// the rows of one matrix product.
at::Tensor attend_to(const at::Tensor& queries, const Attended& seen, const kernels::HeadLayout& layout, double scale) {
  const std::int64_t group = layout.heads / layout.kv_heads;
  const std::int64_t rows = queries.size(0);
  const at::Tensor keys = seen.keys.unsqueeze(1);  // [kv_heads, 1, columns, head_dim]
  const at::Tensor values = seen.values.unsqueeze(1);
  const at::Tensor grouped = queries.view({rows, layout.kv_heads, group, layout.head_dim});
  if (rows == 1 && !seen.mask.defined()) {
    return at::scaled_dot_product_attention(grouped.transpose(0, 1), keys, values, {}, 0.0, false, scale)
        .reshape({1, layout.heads * layout.value_dim()});
  }
  const auto broadcast = [group](const at::Tensor& t) { return t.expand({t.size(0), group, t.size(2), t.size(3)}); };
  const auto mask = seen.mask.defined() ? std::optional(seen.mask) : std::nullopt;
  const at::Tensor out =
      at::scaled_dot_product_attention(grouped.permute({1, 2, 0, 3}), broadcast(keys), broadcast(values), mask, 0.0,
                                       seen.causal, scale);  // [kv_heads, group, rows, head_dim]
  return out.permute({2, 0, 1, 3}).reshape({rows, layout.heads * layout.value_dim()});
}

at::Tensor attend_to_rows(const at::Tensor& queries, const ItemPlan& item, const kernels::AttentionMask& seen,
                          const kernels::HeadLayout& layout, int layer, double scale) {
  if (kernels::has_few_row_attention(queries))
    return kernels::attend_few_rows(queries, item.cache->keys(layer), item.cache->values(layer), seen, layout, scale);
  return attend_to(queries, whole_cache(item, seen, layer), layout, scale);
}

at::Tensor attend_to_all(const at::Tensor& queries, const ItemPlan& item, const kernels::HeadLayout& layout, int layer,
                         double scale) {
  const kernels::AttentionMask& seen = seen_in_layer(item, layout);
  const std::vector<int>& hidden = item.cache->hidden(layer);
  if (hidden.empty()) return attend_to_rows(queries, item, seen, layout, layer, scale);
  return attend_to_rows(queries, item, seen.without(hidden), layout, layer, scale);
}

// The policy's rows and then the item's own: for every key head, or one list for all. `count` of them are the policy's.
struct Columns {
  std::vector<int> rows = {};
  bool per_head = false;
  int count = 0;
};

Columns columns_of(KvSelection chosen, const ItemPlan& item, int kv_heads) {
  const int lists = chosen.per_head ? kv_heads : 1;
  FORETELL_CHECK(chosen.rows.size() % static_cast<std::size_t>(lists) == 0, "{} visible rows for {} key heads",
                 chosen.rows.size(), lists);
  Columns out{{}, chosen.per_head, static_cast<int>(chosen.rows.size()) / lists};
  const int own = item.seen.end - item.below;
  out.rows.reserve(chosen.rows.size() + static_cast<std::size_t>(own) * static_cast<std::size_t>(lists));
  for (int list = 0; list < lists; ++list) {
    int last = -1;
    for (int i = 0; i < out.count; ++i) {
      const int row = chosen.rows[static_cast<std::size_t>(list) * out.count + i];
      FORETELL_CHECK(row > last && row < item.below, "visible row {} follows row {}, {} rows are below the item's", row,
                     last, item.below);
      out.rows.push_back(last = row);
    }
    for (int row = item.below; row < item.seen.end; ++row) out.rows.push_back(row);
  }
  return out;
}

// Below the item's own rows a mask hides nothing, so it fits wherever the columns there come from.
Attended gather(const Columns& columns, const ItemPlan& item, int layer) {
  const at::Tensor &keys = item.cache->keys(layer), &values = item.cache->values(layer);
  const std::int64_t heads = keys.size(0), capacity = keys.size(1);
  const auto width = static_cast<std::int64_t>(columns.rows.size()) / (columns.per_head ? heads : 1);
  at::Tensor index = at::empty({heads * width}, at::kLong);
  auto* to = index.mutable_data_ptr<std::int64_t>();
  for (std::int64_t head = 0; head < heads; ++head) {
    const int* rows = columns.rows.data() + (columns.per_head ? head * width : 0);
    for (std::int64_t i = 0; i < width; ++i) *to++ = head * capacity + rows[i];
  }
  if (!keys.device().is_cpu()) index = index.to(keys.device());
  const auto rows_of = [&](const at::Tensor& all) {
    return all.view({heads * capacity, all.size(2)}).index_select(0, index).view({heads, width, all.size(2)});
  };
  const at::Tensor& mask = item.seen.mask();
  return {rows_of(keys), rows_of(values),
          mask.defined() ? mask.narrow(3, item.below - columns.count, width) : at::Tensor(), false};
}

// The same with the weights written out for the policy.
at::Tensor attend_watched(const at::Tensor& queries, const Attended& seen, const kernels::HeadLayout& layout,
                          double scale, const ItemPlan& item, int layer, const Columns& columns) {
  FORETELL_CHECK(item.cache_rows.empty(), "a policy watches {} rows that are not in line", item.rows);
  const std::int64_t group = layout.heads / layout.kv_heads, rows = queries.size(0), width = seen.keys.size(1);
  const at::Tensor grouped = queries.view({rows, layout.kv_heads, group, layout.head_dim}).permute({1, 2, 0, 3});
  const at::Tensor keys = seen.keys.transpose(1, 2);
  at::Tensor out = at::empty({rows, std::int64_t{layout.heads} * layout.value_dim()}, queries.options());
  for (std::int64_t first = 0; first < rows; first += kWatchedQueries) {
    const std::int64_t count = std::min(kWatchedQueries, rows - first);
    const at::Tensor block = grouped.narrow(2, first, count).reshape({layout.kv_heads, group * count, layout.head_dim});
    at::Tensor scores = block.bmm(keys).to(queries.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).mul_(scale);
    scores = scores.view({layout.kv_heads, group, count, width});
    if (seen.mask.defined()) scores.add_(seen.mask.narrow(2, first, count));
    if (seen.causal) {
      const at::Tensor later = at::ones({count, width}, scores.options().dtype(at::kBool)).triu(first + 1);
      scores.masked_fill_(later, -std::numeric_limits<double>::infinity());
    }
    const at::Tensor weights = scores.softmax(-1);
    const at::Tensor mixed =
        weights.to(queries.scalar_type()).view({layout.kv_heads, group * count, width}).bmm(seen.values);
    out.narrow(0, first, count)
        .copy_(mixed.view({layout.kv_heads, group, count, layout.value_dim()})
                   .permute({2, 0, 1, 3})
                   .reshape({count, out.size(1)}));
    const at::Tensor summed = weights.sum(1).to(at::kCPU, at::kFloat).contiguous();  // [kv_heads, queries, columns]
    item.attention.policy->observe(
        {.layer = layer,
         .kv_heads = layout.kv_heads,
         .queries = static_cast<int>(count),
         .first_row = item.start + static_cast<int>(first),
         .drafted = item.drafted,
         .columns = columns.rows,
         .columns_per_head = columns.per_head,
         .weights = {summed.const_data_ptr<float>(), static_cast<std::size_t>(summed.numel())}});
  }
  return out;
}

at::Tensor attend_by_policy(const at::Tensor& queries, const ItemPlan& item, const kernels::HeadLayout& layout,
                            int layer, double scale) {
  AttentionPolicy& policy = *item.attention.policy;
  if (!item.cache->hidden(layer).empty())
    fail(
        "an attention policy cannot choose among positions of which some are hidden because they left early (kv: "
        "hole)");
  const bool chooses = !item.attention.watched_only && item.below > 0;
  if (!chooses && !policy.wants_weights()) return attend_to_all(queries, item, layout, layer, scale);
  KvSelection chosen;
  if (chooses) {
    chosen = policy.select_kv({layer, layout.kv_heads, item.below, item.rows});
  } else {
    chosen.rows.resize(static_cast<std::size_t>(item.below));
    std::iota(chosen.rows.begin(), chosen.rows.end(), 0);
  }
  const Columns columns = columns_of(std::move(chosen), item, layout.kv_heads);
  if (columns.count == item.below && !policy.wants_weights()) return attend_to_all(queries, item, layout, layer, scale);
  const Attended seen = columns.count == item.below ? whole_cache(item, seen_in_layer(item, layout), layer)
                                                    : gather(columns, item, layer);
  if (!policy.wants_weights()) return attend_to(queries, seen, layout, scale);
  return attend_watched(queries, seen, layout, scale, item, layer, columns);
}

at::Tensor attend_item(const at::Tensor& queries, const ItemPlan& item, const kernels::HeadLayout& layout, int layer,
                       double scale) {
  if (item.attention.policy) return attend_by_policy(queries, item, layout, layer, scale);
  return attend_to_all(queries, item, layout, layer, scale);
}

}  // namespace

at::Tensor attend(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer,
                  double scale) {
  const std::int64_t width = std::int64_t{layout.heads} * layout.value_dim();
  const at::Tensor queries = qkv.narrow(1, 0, std::int64_t{layout.heads} * layout.head_dim);
  if (plan.items.size() == 1) return attend_item(queries, plan.items[0], layout, layer, scale);
  at::Tensor out = at::empty({plan.rows, width}, qkv.options());
  for (const ItemPlan& item : plan.items) {
    if (item.rows == 0) continue;
    out.narrow(0, item.offset, item.rows)
        .copy_(attend_item(queries.narrow(0, item.offset, item.rows), item, layout, layer, scale));
  }
  return out;
}

}  // namespace foretell::model
