#include "framework/model/attention.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace foretell::model {

std::size_t LatentWeights::bytes() const {
  return query_down.bytes() + query_norm.bytes() + query_up.bytes() + kv_down.bytes() + kv_norm.bytes() + kv_up.bytes();
}

at::Tensor latent_qkv(const at::Tensor& x, const LatentWeights& weights, const kernels::HeadLayout& layout) {
  const std::int64_t rows = x.size(0), heads = layout.heads, dim = layout.head_dim, value = layout.value_dim();
  const std::int64_t plain = layout.rotary_first, rotary = dim - plain;
  at::Tensor qkv = at::empty({rows, layout.width()}, x.options());
  const bool direct = weights.query_down.outputs() == 0;
  const at::Tensor source = direct ? x : weights.query_norm.forward(weights.query_down.forward(x));
  qkv.narrow(1, 0, heads * dim).copy_(weights.query_up.forward(source));

  const at::Tensor down = weights.kv_down.forward(x);
  const std::int64_t rank = down.size(1) - rotary;
  const at::Tensor up = weights.kv_up.forward(weights.kv_norm.forward(down.narrow(1, 0, rank).contiguous()))
                            .view({rows, heads, plain + value});
  const at::Tensor keys = qkv.narrow(1, heads * dim, heads * dim).unflatten(1, {heads, dim});
  keys.narrow(2, 0, plain).copy_(up.narrow(2, 0, plain));
  keys.narrow(2, plain, rotary).copy_(down.narrow(1, rank, rotary).unsqueeze(1));
  qkv.narrow(1, 2 * heads * dim, heads * value).unflatten(1, {heads, value}).copy_(up.narrow(2, plain, value));
  return qkv;
}

}  // namespace foretell::model
