// Attention of any number of rows over a cache, on the CPU.
//
// Contract: float32 and bfloat16 queries over a cache of their own type or of int8. Reads every key and value once for
// all rows and query heads that share it (up to 64 of them), makes no mask and copies no cache. Softmax is taken piece
// by piece (Milakov and Gimelshein 2018, arXiv 1805.02867): pieces of 64 and segments of 512 positions lie at fixed
// places and are joined in their order, and what a row does not see adds nothing. So a row's result is the same to the
// bit whatever rows and sequences are computed with it, however the text before it was cut into forward passes, and on
// any number of threads. A node of a tree takes its ancestors at the places that they have as a chain, so that it gets
// what its path would get, too.
//
// Sums are in float32. The order in which they are formed, and so the last bits, belong to a path: see AttentionPath.
// With bfloat16 the softmax weights are rounded to bfloat16 before values are multiplied with them, on every path and
// for every number of rows; their sum is not rounded.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "framework/kernels/attention/attention_mask.h"
#include "framework/kernels/head_layout.h"

namespace foretell::kernels::attention {

// One layer of a cache. With scales, keys and values are int8, each row of a head times its scale.
struct CachedRows {
  at::Tensor keys;                                // [kv_heads, capacity, head_dim]
  at::Tensor values;                              // [kv_heads, capacity, value_dim]
  at::Tensor key_scales = {}, value_scales = {};  // float32 [kv_heads, capacity]
  // Of these rows, those that are attended, increasing, as if nothing lay between them: a mask counts in them. One list
  // for all key heads, or one for each behind the other. Empty: all. Read where they lie, not copied.
  std::span<const int> columns = {};
  bool columns_per_head = false;
};

// Rows of one sequence.
struct AttendingRows {
  at::Tensor queries;  // [rows, >= heads * head_dim], rotated
  CachedRows cache;
  const AttentionMask* seen = nullptr;
  at::Tensor out;  // [rows, heads * value_dim], contiguous
};

// Whether the kernel is for queries of this type and device.
bool has_cached_attention(const at::Tensor& queries);

// All sequences in one parallel region; their caches are of one type.
void attend_rows(std::span<const AttendingRows> items, const HeadLayout& layout, double scale);

// The softmax weights themselves, summed over the query heads of a key head: float32 [kv_heads, rows, end - first].
// Neither do these depend on the rows beside a row.
at::Tensor attention_weights(const at::Tensor& queries, const CachedRows& cache, const AttentionMask& seen,
                             const HeadLayout& layout, double scale);

}  // namespace foretell::kernels::attention
