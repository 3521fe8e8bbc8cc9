// Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, section 2.1): queries, keys and values by way of
// low-rank rows.
//
// Contract: makes the fused rows that ordinary attention reads. A head's elements are the plain ones, then the rotated
// ones; of keys these come from one part of the row that all heads share. What the cache holds are whole keys and
// values of every head: the paper's smaller cache of latent rows would save memory, not change a result.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/kernels/kernels.h"
#include "framework/model/linear.h"
#include "framework/model/norm.h"

namespace foretell::model {

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
