#include "framework/model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <numeric>

#include "framework/core/error.h"
#include "framework/kernels/attention/cached_attention.h"

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

// All that the mask may show: in a windowed layer from the window's first row on.
Attended attended(const kernels::attention::CachedRows& cache, const kernels::attention::AttentionMask& seen) {
  const bool causal = seen.is_causal() && seen.rows > 1;
  const std::int64_t length = seen.end - seen.first;
  return {cache.keys.narrow(1, seen.first, length), cache.values.narrow(1, seen.first, length),
          causal ? at::Tensor() : seen.mask(), causal};
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

// A sequence's rows, what they look at, and where the result goes.
struct Looking {
  at::Tensor queries;
  const ItemPlan& item;
  at::Tensor out;  // [rows, heads * value_dim]
};

// What waits for one call of the kernel.
class Waiting {
 public:
  void add(const Looking& rows, kernels::attention::CachedRows cache, kernels::attention::AttentionMask seen) {
    add(rows, std::move(cache), &masks_.emplace_back(std::move(seen)));
  }
  // Lives as long as this.
  const std::vector<int>& keep(std::vector<int> columns) { return columns_.emplace_back(std::move(columns)); }
  // The mask lives as long as the plan.
  void add(const Looking& rows, kernels::attention::CachedRows cache, const kernels::attention::AttentionMask* seen) {
    items_.push_back({rows.queries, std::move(cache), seen, rows.out});
  }
  void attend(const kernels::HeadLayout& layout, double scale) const {
    kernels::attention::attend_rows(items_, layout, scale);
  }

 private:
  std::vector<kernels::attention::AttendingRows> items_;
  std::deque<kernels::attention::AttentionMask> masks_;
  std::deque<std::vector<int>> columns_;
};

void attend_to_all(const Looking& rows, const kernels::HeadLayout& layout, int layer, double scale, Waiting& waiting) {
  const kernels::attention::AttentionMask& seen = seen_in_layer(rows.item, layout);
  const std::vector<int>& hidden = rows.item.cache->hidden(layer);
  if (!kernels::attention::has_cached_attention(rows.queries)) {
    const kernels::attention::AttentionMask some =
        hidden.empty() ? kernels::attention::AttentionMask() : seen.without(hidden);
    rows.out.copy_(
        attend_to(rows.queries, attended(rows.item.cache->rows(layer), hidden.empty() ? seen : some), layout, scale));
  } else if (hidden.empty()) {
    waiting.add(rows, rows.item.cache->rows(layer), &seen);
  } else {
    waiting.add(rows, rows.item.cache->rows(layer), seen.without(hidden));
  }
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

// Those rows of the cache by themselves, [kv_heads, columns, ...], for a library's operators.
kernels::attention::CachedRows gather(const Columns& columns, const ItemPlan& item, int layer) {
  const kernels::attention::CachedRows cache = item.cache->rows(layer);
  const std::int64_t heads = cache.keys.size(0), capacity = cache.keys.size(1);
  const auto width = static_cast<std::int64_t>(columns.rows.size()) / (columns.per_head ? heads : 1);
  at::Tensor index = at::empty({heads * width}, at::kLong);
  auto* to = index.mutable_data_ptr<std::int64_t>();
  for (std::int64_t head = 0; head < heads; ++head) {
    const int* rows = columns.rows.data() + (columns.per_head ? head * width : 0);
    for (std::int64_t i = 0; i < width; ++i) *to++ = head * capacity + rows[i];
  }
  if (!cache.keys.device().is_cpu()) index = index.to(cache.keys.device());
  const auto rows_of = [&](const at::Tensor& all) {
    return all.flatten(0, 1).index_select(0, index).unflatten(0, {heads, width});
  };
  kernels::attention::CachedRows out{rows_of(cache.keys), rows_of(cache.values)};
  if (cache.key_scales.defined()) {
    out.key_scales = rows_of(cache.key_scales);
    out.value_scales = rows_of(cache.value_scales);
  }
  return out;
}

// The item's mask over those columns: below the item's own rows it hides nothing, wherever the columns come from.
kernels::attention::AttentionMask mask_over(const Columns& columns, const ItemPlan& item) {
  kernels::attention::AttentionMask seen = item.seen;
  seen.base = columns.count;
  seen.end = columns.count + item.seen.end - item.below;
  return seen;
}

// What a policy looks at goes beside it.
using Watch = std::function<void(std::int64_t first, std::int64_t count, const at::Tensor& summed)>;

Watch tell(const ItemPlan& item, const kernels::HeadLayout& layout, int layer, const Columns& columns) {
  FORETELL_CHECK(item.cache_rows.empty(), "a policy watches {} rows that are not in line", item.rows);
  return [&item, &columns, kv_heads = layout.kv_heads, layer](std::int64_t first, std::int64_t count,
                                                              const at::Tensor& summed) {
    item.attention.policy->observe(
        {.layer = layer,
         .kv_heads = kv_heads,
         .queries = static_cast<int>(count),
         .first_row = item.start + static_cast<int>(first),
         .drafted = item.drafted,
         .columns = columns.rows,
         .columns_per_head = columns.per_head,
         .weights = {summed.const_data_ptr<float>(), static_cast<std::size_t>(summed.numel())}});
  };
}

// Attention in a library's operators, with the weights written out.
at::Tensor attend_watched(const at::Tensor& queries, const Attended& seen, const kernels::HeadLayout& layout,
                          double scale, const Watch& watch) {
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
    watch(first, count, weights.sum(1).to(at::kCPU, at::kFloat).contiguous());
  }
  return out;
}

// The weights of rows that the kernel attends.
void watch_rows(const at::Tensor& queries, const kernels::attention::CachedRows& cache,
                const kernels::attention::AttentionMask& seen, const kernels::HeadLayout& layout, double scale,
                const Watch& watch) {
  for (std::int64_t first = 0; first < queries.size(0); first += kWatchedQueries) {
    const std::int64_t count = std::min(kWatchedQueries, queries.size(0) - first);
    std::vector<int> rows(static_cast<std::size_t>(count));
    std::iota(rows.begin(), rows.end(), static_cast<int>(first));
    watch(first, count,
          kernels::attention::attention_weights(queries.narrow(0, first, count), cache, seen.select(rows), layout,
                                                scale));
  }
}

void attend_by_policy(const Looking& rows, const kernels::HeadLayout& layout, int layer, double scale,
                      Waiting& waiting) {
  const ItemPlan& item = rows.item;
  AttentionPolicy& policy = *item.attention.policy;
  if (!item.cache->hidden(layer).empty())
    fail(
        "an attention policy cannot choose among positions of which some are hidden because they left early (kv: "
        "hole)");
  const bool chooses = !item.attention.watched_only && item.below > 0;
  if (!chooses && !policy.wants_weights()) return attend_to_all(rows, layout, layer, scale, waiting);
  KvSelection chosen;
  if (chooses) {
    chosen = policy.select_kv({layer, layout.kv_heads, item.below, item.rows});
  } else {
    chosen.rows.resize(static_cast<std::size_t>(item.below));
    std::iota(chosen.rows.begin(), chosen.rows.end(), 0);
  }
  const Columns columns = columns_of(std::move(chosen), item, layout.kv_heads);
  const bool everything = columns.count == item.below;
  if (everything && !policy.wants_weights()) return attend_to_all(rows, layout, layer, scale, waiting);
  const kernels::attention::AttentionMask seen = everything ? seen_in_layer(item, layout) : mask_over(columns, item);
  if (kernels::attention::has_cached_attention(rows.queries)) {
    kernels::attention::CachedRows cache = item.cache->rows(layer);
    if (!everything) {
      cache.columns = waiting.keep(columns.rows);
      cache.columns_per_head = columns.per_head;
    }
    if (policy.wants_weights())
      watch_rows(rows.queries, cache, seen, layout, scale, tell(item, layout, layer, columns));
    return waiting.add(rows, cache, seen);
  }
  const Attended part = attended(everything ? item.cache->rows(layer) : gather(columns, item, layer), seen);
  rows.out.copy_(policy.wants_weights()
                     ? attend_watched(rows.queries, part, layout, scale, tell(item, layout, layer, columns))
                     : attend_to(rows.queries, part, layout, scale));
}

}  // namespace

at::Tensor attend(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer,
                  double scale) {
  const at::Tensor queries = qkv.narrow(1, 0, std::int64_t{layout.heads} * layout.head_dim);
  at::Tensor out = at::empty({plan.rows, std::int64_t{layout.heads} * layout.value_dim()}, qkv.options());
  Waiting waiting;
  for (const ItemPlan& item : plan.items) {
    if (item.rows == 0) continue;
    const Looking rows{queries.narrow(0, item.offset, item.rows), item, out.narrow(0, item.offset, item.rows)};
    item.attention.policy ? attend_by_policy(rows, layout, layer, scale, waiting)
                          : attend_to_all(rows, layout, layer, scale, waiting);
  }
  waiting.attend(layout, scale);
  return out;
}

}  // namespace foretell::model
