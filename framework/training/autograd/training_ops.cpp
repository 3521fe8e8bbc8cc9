#include "framework/training/autograd/training_ops.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

#include <memory>
#include <span>

#include "framework/kernels/training/training_kernels.h"
#include "framework/kernels/training/training_tensors.h"
#include "framework/model/rope.h"

namespace foretell::autograd {
namespace {

using kernels::training::AutogradContext;
using kernels::training::data;
using kernels::training::dense;
using kernels::training::Function;
using kernels::training::has_kernel;
using kernels::training::variable_list;
using kernels::training::writable;

// ---- Norms
// ----------------------------------------------------------------------------------------------------------------------------

kernels::training::NormRows norm_rows(const at::Tensor& x, const at::Tensor& gain) {
  return {x.size(0), x.size(1), data(gain)};
}

class NormFunction : public Function<NormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& gain, double eps) {
    const at::Tensor x = dense(input);
    at::Tensor normed = at::empty_like(x), rstd = at::empty({x.size(0)}, x.options());
    kernels::training::norm_forward(norm_rows(x, gain), data(x), nullptr, static_cast<float>(eps), nullptr,
                                    writable(normed), writable(rstd));
    context->save_for_backward({x, gain, rstd});
    return normed;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    at::Tensor d_x = at::empty_like(saved[0]), d_gain = at::empty_like(saved[1]);
    const at::Tensor d_normed = dense(grads[0]);
    kernels::training::norm_backward(norm_rows(saved[0], saved[1]), data(saved[0]), data(saved[2]), nullptr,
                                     data(d_normed), writable(d_x), writable(d_gain));
    return {d_x, d_gain, at::Tensor()};
  }
};

class AddNormFunction : public Function<AddNormFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& left, const at::Tensor& right,
                               const at::Tensor& gain, double eps) {
    const at::Tensor x = dense(left), y = dense(right);
    at::Tensor sum = at::empty_like(x), normed = at::empty_like(x), rstd = at::empty({x.size(0)}, x.options());
    kernels::training::norm_forward(norm_rows(x, gain), data(x), data(y), static_cast<float>(eps), writable(sum),
                                    writable(normed), writable(rstd));
    context->save_for_backward({sum, gain, rstd});
    context->set_materialize_grads(false);
    return {sum, normed};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    if (!grads[1].defined()) return {grads[0], grads[0], at::Tensor(), at::Tensor()};
    at::Tensor d_x = at::empty_like(saved[0]), d_gain = at::empty_like(saved[1]);
    const at::Tensor d_sum = dense(grads[0]), d_normed = dense(grads[1]);
    kernels::training::norm_backward(norm_rows(saved[0], saved[1]), data(saved[0]), data(saved[2]), data(d_sum),
                                     data(d_normed), writable(d_x), writable(d_gain));
    return {d_x, d_x, d_gain, at::Tensor()};
  }
};

class SiluGateFunction : public Function<SiluGateFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input) {
    const at::Tensor x = dense(input);
    at::Tensor out = at::empty({x.size(0), x.size(1) / 2}, x.options());
    kernels::training::silu_gate_forward(out.size(0), out.size(1), data(x), writable(out));
    context->save_for_backward({x});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor d_out = dense(grads[0]);
    at::Tensor d_x = at::empty_like(x);
    kernels::training::silu_gate_backward(d_out.size(0), d_out.size(1), data(x), data(d_out), writable(d_x));
    return {d_x};
  }
};

// ---- Attention
// ------------------------------------------------------------------------------------------------------------------------

kernels::training::RotaryView rotary_view(const RotaryRows& rotary, std::int64_t rows) {
  if (!rotary.cosines.defined()) return {rows, 0, nullptr, nullptr};
  return {rows, rotary.cosines.size(2), data(rotary.cosines), data(rotary.sines)};
}

// The rows of a group of a matrix [rows, heads * head_dim] as [sequences, heads, length, head_dim].
at::Tensor group_heads(const at::Tensor& t, const RowGroup& group, const kernels::HeadLayout& layout) {
  return t.narrow(0, group.first_row, group.sequences * group.length)
      .view({group.sequences, group.length, layout.heads, layout.head_dim})
      .transpose(1, 2);
}

void put_group(at::Tensor& rows, const at::Tensor& heads, const RowGroup& group, const kernels::HeadLayout& layout) {
  group_heads(rows, group, layout).copy_(heads);
}

std::optional<at::Tensor> mask_of(const RowGroup& group) {
  return group.bias.defined() ? std::optional(group.bias) : std::nullopt;
}

class AttentionFunction : public Function<AttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            std::shared_ptr<const TrainingAttention> attention) {
    const kernels::HeadLayout& layout = attention->layout;
    const at::Tensor qkv = dense(input);
    const auto rows = [&] {
      return at::empty({qkv.size(0), std::int64_t{layout.heads} * layout.head_dim}, qkv.options());
    };
    at::Tensor q = rows(), k = rows(), v = rows(), out = rows();
    kernels::training::split_heads(layout, rotary_view(attention->rotary, qkv.size(0)), data(qkv), writable(q),
                                   writable(k), writable(v));
    variable_list saved = {q, k, v, out};
    for (const RowGroup& group : attention->groups) {
      const auto [heads, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
          group_heads(q, group, layout), group_heads(k, group, layout), group_heads(v, group, layout), 0.0,
          !group.bias.defined(), mask_of(group), attention->scale);
      put_group(out, heads, group, layout);
      saved.push_back(log_sums);
    }
    context->save_for_backward(saved);
    context->saved_data["attention"] = at::IValue::make_capsule(c10::make_intrusive<Capsule>(std::move(attention)));
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const auto capsule = c10::static_intrusive_pointer_cast<Capsule>(context->saved_data["attention"].toCapsule());
    const TrainingAttention& attention = *capsule->attention;
    const kernels::HeadLayout& layout = attention.layout;
    const at::Tensor d_out = dense(grads[0]);
    at::Tensor d_q = at::empty_like(d_out), d_k = at::empty_like(d_out), d_v = at::empty_like(d_out);
    for (std::size_t i = 0; i < attention.groups.size(); ++i) {
      const RowGroup& group = attention.groups[i];
      const auto heads = [&](const at::Tensor& t) { return group_heads(t, group, layout); };
      const auto [q, k, v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          heads(d_out), heads(saved[0]), heads(saved[1]), heads(saved[2]), heads(saved[3]), saved[4 + i], 0.0,
          !group.bias.defined(), mask_of(group), attention.scale);
      put_group(d_q, q, group, layout);
      put_group(d_k, k, group, layout);
      put_group(d_v, v, group, layout);
    }
    at::Tensor d_qkv =
        at::empty({d_out.size(0), std::int64_t{layout.heads + 2 * layout.kv_heads} * layout.head_dim}, d_out.options());
    kernels::training::join_heads_backward(layout, rotary_view(attention.rotary, d_out.size(0)), data(d_q), data(d_k),
                                           data(d_v), writable(d_qkv));
    return {d_qkv, at::Tensor()};
  }

 private:
  struct Capsule : torch::CustomClassHolder {
    explicit Capsule(std::shared_ptr<const TrainingAttention> a) : attention(std::move(a)) {}
    std::shared_ptr<const TrainingAttention> attention;
  };
};

}  // namespace

at::Tensor rotated_training(const at::Tensor& heads, const RotaryRows& rotary, bool interleaved) {
  const std::int64_t pairs = rotary.cosines.size(2);
  const at::Tensor turned = heads.narrow(2, 0, 2 * pairs);
  const at::Tensor a = interleaved ? turned.slice(2, 0, 2 * pairs, 2) : turned.narrow(2, 0, pairs);
  const at::Tensor b = interleaved ? turned.slice(2, 1, 2 * pairs, 2) : turned.narrow(2, pairs, pairs);
  const at::Tensor first = (a * rotary.cosines - b * rotary.sines).to(heads.scalar_type());
  const at::Tensor second = (b * rotary.cosines + a * rotary.sines).to(heads.scalar_type());
  at::Tensor pair = interleaved ? at::stack({first, second}, 3).flatten(2) : at::cat({first, second}, 2);
  if (2 * pairs == heads.size(2)) return pair;
  return at::cat({pair, heads.narrow(2, 2 * pairs, heads.size(2) - 2 * pairs)}, 2);
}

RotaryRows rotary_rows(const at::Tensor& positions, const std::vector<double>& frequencies, double magnitude,
                       at::Device device) {
  if (frequencies.empty()) return {};
  const at::Tensor host = positions.to(at::kCPU, at::kInt).contiguous();
  const std::span<const int> values(host.const_data_ptr<int>(), static_cast<std::size_t>(host.numel()));
  const std::int64_t pairs = static_cast<std::int64_t>(frequencies.size());
  RotaryRows rows{at::empty({host.numel(), 1, pairs}), at::empty({host.numel(), 1, pairs})};
  model::rope_angles(values, frequencies, magnitude, rows.cosines.mutable_data_ptr<float>(),
                     rows.sines.mutable_data_ptr<float>());
  return {rows.cosines.to(device), rows.sines.to(device)};
}

at::Tensor rms_norm_training(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (has_kernel(x)) return NormFunction::apply(x, gain, eps);
  return kernels::rms_norm_aten(x, gain, eps);
}

SumAndNorm add_norm_training(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gain, double eps) {
  if (has_kernel(x) && has_kernel(y)) {
    const variable_list both = AddNormFunction::apply(x, y, gain, eps);
    return {both[0], both[1]};
  }
  const at::Tensor sum = x + y;
  return {sum, rms_norm_training(sum, gain, eps)};
}

at::Tensor attend_training(const at::Tensor& qkv, const TrainingAttention& attention) {
  if (has_kernel(qkv)) return AttentionFunction::apply(qkv, std::make_shared<const TrainingAttention>(attention));
  return attend_training_aten(qkv, attention);
}

at::Tensor attend_training_aten(const at::Tensor& qkv, const TrainingAttention& attention) {
  const kernels::HeadLayout& layout = attention.layout;
  const std::int64_t group_size = layout.heads / layout.kv_heads;
  const at::Tensor heads = qkv.view({qkv.size(0), layout.heads + 2 * layout.kv_heads, layout.head_dim});
  const auto turned = [&](std::int64_t first, std::int64_t count) {
    const at::Tensor part = heads.narrow(1, first, count);
    return attention.rotary.cosines.defined() ? rotated_training(part, attention.rotary, layout.interleaved) : part;
  };
  const at::Tensor queries = turned(0, layout.heads);
  const at::Tensor keys = turned(layout.heads, layout.kv_heads);
  const at::Tensor values = heads.narrow(1, layout.heads + layout.kv_heads, layout.kv_heads);
  std::vector<at::Tensor> parts;
  for (const RowGroup& group : attention.groups) {
    const auto rows = [&](const at::Tensor& t, std::int64_t copies) {  // [sequences, heads, length, head_dim]
      const at::Tensor own = t.narrow(0, group.first_row, group.sequences * group.length)
                                 .view({group.sequences, group.length, t.size(1), layout.head_dim})
                                 .transpose(1, 2);
      return copies == 1 ? own : own.repeat_interleave(copies, 1);
    };
    const bool causal = !group.bias.defined();
    const at::Tensor out = at::scaled_dot_product_attention(
        rows(queries, 1), rows(keys, group_size), rows(values, group_size),
        causal ? std::optional<at::Tensor>() : group.bias.to(queries.scalar_type()), 0.0, causal, attention.scale);
    parts.push_back(out.transpose(1, 2).reshape({group.sequences * group.length, layout.heads * layout.head_dim}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor attend_unrolled_training(const std::vector<UnrolledStep>& steps, const TrainingAttention& attention) {
  if (steps.size() == 1)
    return attend_training(steps[0].qkv, {attention.layout, steps[0].rotary, attention.groups, attention.scale});
  const kernels::HeadLayout& layout = attention.layout;
  const std::int64_t copies = layout.heads / layout.kv_heads;
  const auto part = [&](const UnrolledStep& step, std::int64_t first, std::int64_t count, bool turned) {
    const at::Tensor heads =
        step.qkv.view({step.qkv.size(0), layout.heads + 2 * layout.kv_heads, layout.head_dim}).narrow(1, first, count);
    return turned && step.rotary.cosines.defined() ? rotated_training(heads, step.rotary, layout.interleaved) : heads;
  };
  const at::Tensor queries = part(steps.back(), 0, layout.heads, true);
  std::vector<at::Tensor> keys, values;
  for (const UnrolledStep& step : steps) {
    keys.push_back(part(step, layout.heads, layout.kv_heads, true));
    values.push_back(part(step, layout.heads + layout.kv_heads, layout.kv_heads, false));
  }
  std::vector<at::Tensor> parts;
  for (const RowGroup& group : attention.groups) {
    const auto rows = [&](const at::Tensor& t) {  // [sequences, heads, length, head_dim]
      return t.narrow(0, group.first_row, group.sequences * group.length)
          .view({group.sequences, group.length, t.size(1), layout.head_dim})
          .transpose(1, 2);
    };
    const auto all = [&](const std::vector<at::Tensor>& of) {
      std::vector<at::Tensor> out;
      out.reserve(of.size());
      for (const at::Tensor& step : of) out.push_back(rows(step));
      const at::Tensor joined = at::cat(out, 2);
      return copies == 1 ? joined : joined.repeat_interleave(copies, 1);
    };
    const at::Tensor own = at::eye(group.length, queries.options().dtype(at::kBool));
    std::vector<at::Tensor> seen(steps.size(), own);
    seen[0] = at::ones_like(own).tril();
    const at::Tensor out = at::scaled_dot_product_attention(rows(queries), all(keys), all(values), at::cat(seen, 1),
                                                            0.0, false, attention.scale);
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
  if (activation == Activation::Silu && has_kernel(x)) return SiluGateFunction::apply(x);
  const std::int64_t width = x.size(1) / 2;
  return activate_training(x.narrow(1, 0, width), activation) * x.narrow(1, width, width);
}

}  // namespace foretell::autograd
