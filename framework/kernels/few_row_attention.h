// Attention of few rows over a long cache, on the CPU.
//
// Contract: the same as a library's operator under the item's mask, to rounding, but reads every key and value once for
// all rows and query heads that share it, makes no mask and copies no cache. Softmax is taken piece by piece (Milakov
// and Gimelshein 2018, arXiv 1805.02867); pieces lie at fixed cache rows and are joined in their order, so a row's
// result depends neither on the rows beside it nor on the number of threads. Sums are in float32. Where the processor
// has matrix tiles, more than five bfloat16 rows go through them, with softmax weights rounded to bfloat16
// (attention_tiles.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/kernels/attention_mask.h"
#include "framework/kernels/head_layout.h"

namespace foretell::kernels {

// Whether these queries are few enough, and of a type and on a device that the kernel is for.
bool has_few_row_attention(const at::Tensor& queries);

// queries [rows, >= heads * head_dim], rotated; keys, values: a cache of one layer, [kv_heads, capacity, ...]. ->
// [rows, heads * value_dim]
at::Tensor attend_few_rows(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           const AttentionMask& seen, const HeadLayout& layout, double scale);

}  // namespace foretell::kernels
