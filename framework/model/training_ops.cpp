#include "framework/model/training_ops.h"

#include <ATen/ATen.h>

namespace foretell {
namespace {

// heads [rows, n, head_dim]; the pairs of kernels.h's rotate_head().
at::Tensor rotated(const at::Tensor& heads, const RotaryRows& rotary, bool interleaved) {
  const std::int64_t pairs = rotary.cosines.size(2);
  const at::Tensor turned = heads.narrow(2, 0, 2 * pairs);
  const at::Tensor a = interleaved ? turned.slice(2, 0, 2 * pairs, 2) : turned.narrow(2, 0, pairs);
  const at::Tensor b = interleaved ? turned.slice(2, 1, 2 * pairs, 2) : turned.narrow(2, pairs, pairs);
  const at::Tensor first = (a * rotary.cosines - b * rotary.sines).to(heads.scalar_type());
  const at::Tensor second = (b * rotary.cosines + a * rotary.sines).to(heads.scalar_type());
  const at::Tensor pair = interleaved ? at::stack({first, second}, 3).flatten(2) : at::cat({first, second}, 2);
  if (2 * pairs == heads.size(2)) return pair;
  return at::cat({pair, heads.narrow(2, 2 * pairs, heads.size(2) - 2 * pairs)}, 2);
}

}  // namespace

at::Tensor rms_norm_training(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return wide.mul(wide.square().mean(-1, true).add(eps).rsqrt()).to(x.scalar_type()).mul(gain);
}

at::Tensor attend_training(const at::Tensor& qkv, const HeadLayout& layout, const RotaryRows& rotary, std::span<const RowGroup> groups,
                           double scale) {
  const std::int64_t group_size = layout.heads / layout.kv_heads;
  const at::Tensor heads = qkv.view({qkv.size(0), layout.heads + 2 * layout.kv_heads, layout.head_dim});
  const auto turned = [&](std::int64_t first, std::int64_t count) {
    const at::Tensor part = heads.narrow(1, first, count);
    return rotary.cosines.defined() ? rotated(part, rotary, layout.interleaved) : part;
  };
  const at::Tensor queries = turned(0, layout.heads);
  const at::Tensor keys = turned(layout.heads, layout.kv_heads);
  const at::Tensor values = heads.narrow(1, layout.heads + layout.kv_heads, layout.kv_heads);
  std::vector<at::Tensor> parts;
  for (const RowGroup& group : groups) {
    const auto rows = [&](const at::Tensor& t, std::int64_t copies) {  // [sequences, heads, length, head_dim]
      const at::Tensor own = t.narrow(0, group.first_row, group.sequences * group.length)
                                 .view({group.sequences, group.length, t.size(1), layout.head_dim})
                                 .transpose(1, 2);
      return copies == 1 ? own : own.repeat_interleave(copies, 1);
    };
    const at::Tensor out =
        at::scaled_dot_product_attention(rows(queries, 1), rows(keys, group_size), rows(values, group_size), {}, 0.0, true, scale);
    parts.push_back(out.transpose(1, 2).reshape({group.sequences * group.length, layout.heads * layout.head_dim}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor activate_training(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return at::silu(x);
    case Activation::Gelu: return at::gelu(x, "none");
    case Activation::GeluTanh: return at::gelu(x, "tanh");
    case Activation::Relu: return at::relu(x);
  }
  return x;
}

at::Tensor gated_training(const at::Tensor& x, Activation activation) {
  const std::int64_t width = x.size(1) / 2;
  return activate_training(x.narrow(1, 0, width), activation) * x.narrow(1, width, width);
}

}  // namespace foretell
