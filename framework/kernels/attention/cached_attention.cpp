#include "framework/kernels/attention/cached_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "framework/kernels/attention/attention_code.h"
#include "framework/kernels/attention/attention_tasks.h"

namespace foretell::kernels::attention {
namespace {

constexpr std::int64_t kSerialAttention = 1
                                          << 17;  // multiplications below which a second thread is not worth its start

HeadRows rows_of(const at::Tensor& all) {
  const auto type = all.scalar_type() == at::kFloat      ? HeadRows::Type::Float32
                    : all.scalar_type() == at::kBFloat16 ? HeadRows::Type::BFloat16
                                                         : HeadRows::Type::Int8;
  return {type, all.const_data_ptr(), all.size(2)};
}

AttentionJob job_of(const at::Tensor& queries, const CachedRows& cache, const AttentionMask& seen,
                    const HeadLayout& layout, double scale, void* out) {
  const auto element = static_cast<std::int64_t>(queries.element_size());
  const auto scales = [](const at::Tensor& of) { return of.defined() ? of.const_data_ptr<float>() : nullptr; };
  return {
      .queries = static_cast<const std::byte*>(queries.const_data_ptr()),
      .row_bytes = queries.stride(0) * element,
      .keys = rows_of(cache.keys),
      .values = rows_of(cache.values),
      .key_scales = scales(cache.key_scales),
      .value_scales = scales(cache.value_scales),
      .columns = cache.columns.empty() ? nullptr : cache.columns.data(),
      .head_columns = cache.columns_per_head ? static_cast<std::int64_t>(cache.columns.size()) / layout.kv_heads : 0,
      .capacity = cache.keys.size(1),
      .dim = layout.head_dim,
      .value_dim = layout.value_dim(),
      .kv_heads = layout.kv_heads,
      .group = layout.heads / layout.kv_heads,
      .seen = &seen,
      .scale = static_cast<float>(scale),
      .out = static_cast<std::byte*>(out)};
}

// Calls each(i) for i in [0, count), on as many threads as are worth it, in about that order.
template <class F>
void on_threads(int count, bool serial, const F& each) {
  const int threads = serial ? 1 : std::min(at::get_num_threads(), count);
  std::atomic<int> next = 0;
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    static thread_local AttentionRoom room;
    for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) each(i, room);
  });
}

std::int64_t multiplications(std::span<const AttentionJob> jobs) {
  std::int64_t all = 0;
  for (const AttentionJob& job : jobs) {
    const int seen = job.seen->has_ranges() ? job.seen->count(job.seen->rows - 1) : job.seen->end - job.seen->first;
    all += std::int64_t{job.count()} * seen * job.dim * job.kv_heads;
  }
  return all;
}

}  // namespace

bool has_cached_attention(const at::Tensor& queries) {
  return queries.device().is_cpu() && queries.stride(1) == 1 &&
         (queries.scalar_type() == at::kFloat || queries.scalar_type() == at::kBFloat16);
}

void attend_rows(std::span<const AttendingRows> items, const HeadLayout& layout, double scale) {
  static thread_local std::vector<float> parts;
  static thread_local AttentionRoom own;
  std::vector<AttentionJob> jobs;
  for (const AttendingRows& item : items)
    jobs.push_back(job_of(item.queries, item.cache, *item.seen, layout, scale, item.out.mutable_data_ptr()));
  if (jobs.empty()) return;
  const AttentionCode path = attention_code(items.front().queries.scalar_type());
  const std::vector<QueryTile> tiles = tiles_of(jobs);
  const bool serial = multiplications(jobs) < kSerialAttention || at::get_num_threads() == 1;
  const bool divided = !serial && static_cast<int>(tiles.size()) < kTasksPerThread * at::get_num_threads();
  const std::vector<AttentionTask> tasks = tasks_of(tiles, divided, path, parts);
  on_threads(static_cast<int>(tasks.size()), serial,
             [&](int i, AttentionRoom& room) { path.run(tasks[static_cast<std::size_t>(i)], room); });
  for (const AttentionTask& task : tasks)
    if (task.parts && task.first == 0) path.join(task.tile, task.parts, path.wide_values(layout.value_dim()), own);
}

at::Tensor attention_weights(const at::Tensor& queries, const CachedRows& cache, const AttentionMask& seen,
                             const HeadLayout& layout, double scale) {
  const std::int64_t columns = seen.end - seen.first;
  at::Tensor out = at::zeros({layout.kv_heads, queries.size(0), columns}, at::kFloat);
  const AttentionJob job = job_of(queries, cache, seen, layout, scale, nullptr);
  const AttentionCode path = attention_code(queries.scalar_type());
  float* const to = out.mutable_data_ptr<float>();
  on_threads(layout.kv_heads, multiplications({&job, 1}) < kSerialAttention, [&](int head, AttentionRoom& room) {
    for (int first = 0; first < job.count(); first += kTileQueries)
      path.weigh(tile_of(job, head, first), to + head * queries.size(0) * columns, room);
  });
  return out;
}

}  // namespace foretell::kernels::attention
