// Attention of a batch's rows over the items' caches.
//
// Contract: queries lie in the fused qkv rows and are turned already; keys and values, those of these rows included,
// are in the caches. Grouped queries share their keys without copies (Ainslie et al. 2023, arXiv 2305.13245). An item
// with an attention policy attends to the rows that the policy leaves, which are gathered: what that costs grows with
// their number and not with the cache's length.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/kernels/kernels.h"
#include "framework/model/batch_plan.h"

namespace foretell::model {

// qkv [rows, layout.width()] -> [rows, heads * value_dim]
at::Tensor attend(const at::Tensor& qkv, const kernels::HeadLayout& layout, const BatchPlan& plan, int layer,
                  double scale);

}  // namespace foretell::model
