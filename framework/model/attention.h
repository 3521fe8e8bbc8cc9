// Attention of a batch's rows over the items' caches.
//
// Contract: queries lie in the fused qkv rows and are turned already; keys and values, those of these rows included,
// are in the caches. Grouped queries share their keys without copies (Ainslie et al. 2023, arXiv 2305.13245). An item
// with an attention policy attends to the rows that the policy leaves, read where they lie on the CPU and gathered
// elsewhere: what that costs grows with their number and not with the cache's length.
//
// Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, section 2.1) makes the fused rows that this reads,
// by way of low-rank rows. A head's elements are the plain ones, then the rotated ones; of keys these come from one
// part of the row that all heads share. What the cache holds are whole keys and values of every head: the paper's
// smaller cache of latent rows would save memory, not change a result.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/kernels/kernels.h"
#include "framework/model/batch_plan.h"
#include "framework/model/linear.h"
#include "framework/model/norm.h"

namespace foretell::model {

// qkv [rows, layout.width()] -> [rows, heads * value_dim]
at::Tensor attend(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer,
                  double scale);

struct LatentWeights {
  Linear query_down = {};  // [query_rank, hidden]; undefined where queries are projected at once
  Norm query_norm = {};
  Linear query_up = {};  // [heads * head_dim, query_rank or hidden]
  Linear kv_down = {};   // [kv_rank + rotary_dim, hidden]
  Norm kv_norm = {};
  Linear kv_up = {};  // [heads * (plain_dim + value_dim), kv_rank], a head's plain key before its value

  std::size_t bytes() const;
};

// x [rows, hidden] -> [rows, layout.width()], not rotated yet.
at::Tensor latent_qkv(const at::Tensor& x, const LatentWeights& weights, const kernels::HeadLayout& layout);

}  // namespace foretell::model
