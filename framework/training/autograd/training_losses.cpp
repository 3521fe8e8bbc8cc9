// The head and the losses behind it.
#include <ATen/autocast_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include "framework/core/error.h"
#include "framework/kernels/training/training_kernels.h"
#include "framework/kernels/training/training_tensors.h"
#include "framework/training/autograd/training_ops.h"

namespace foretell::autograd {
namespace {

using kernels::training::AutogradContext;
using kernels::training::data;
using kernels::training::dense;
using kernels::training::Function;
using kernels::training::has_kernel;
using kernels::training::variable_list;
using kernels::training::writable;

constexpr std::int64_t kLogitElements = std::int64_t{1} << 22;  // in memory at once: 16 MiB

// The derivative is taken on the way, so that the logits of a chunk are gone before those of the next one are made (as
// in Hsu et al. 2024, "Liger Kernel", arXiv 2410.10989, section 3.2). `rows` turns a chunk's logits into the derivative
// of their loss.
template <class Rows>
variable_list head_gradients(const at::Tensor& state, const at::Tensor& head, bool state_wanted, Rows&& rows) {
  at::Tensor d_state = state_wanted ? at::empty_like(state) : at::Tensor();
  at::Tensor d_head = head.requires_grad() ? at::zeros_like(head) : at::Tensor();
  const std::int64_t chunk = std::max<std::int64_t>(1, kLogitElements / head.size(0));
  for (std::int64_t first = 0; first < state.size(0); first += chunk) {
    const std::int64_t count = std::min(chunk, state.size(0) - first);
    const at::Tensor part = state.narrow(0, first, count);
    at::Tensor logits = at::linear(part, head);
    rows(first, count, logits);
    if (state_wanted) {
      at::Tensor d_part = d_state.narrow(0, first, count);
      at::mm_out(d_part, logits, head);
    }
    if (d_head.defined()) d_head.addmm_(logits.t(), part);
  }
  return {d_state, d_head};
}

at::Tensor times(const at::Tensor& gradient, const at::Tensor& by) {
  return gradient.defined() ? gradient * by : at::Tensor();  // none where it was not wanted
}

class HeadLossFunction : public Function<HeadLossFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& head,
                            const at::Tensor& targets, const at::Tensor& weights) {
    const at::Tensor state = dense(input);
    double loss = 0;
    context->save_for_backward(head_gradients(
        state, head, input.requires_grad(), [&](std::int64_t first, std::int64_t count, at::Tensor& logits) {
          loss += kernels::training::cross_entropy_rows(count, head.size(0), writable(logits),
                                                        targets.const_data_ptr<std::int64_t>() + first,
                                                        data(weights) + first);
        }));
    return at::scalar_tensor(loss, state.options());
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    return {times(saved[0], grads[0]), times(saved[1], grads[0]), at::Tensor(), at::Tensor()};
  }
};

struct DistillCall {
  at::Tensor targets, weights;
  Teacher teacher;
  kernels::training::DistillMix mix;
  kernels::training::DistillTerms* terms;
};

class DistillFunction : public Function<DistillFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& head,
                            const DistillCall& call) {
    const at::Tensor state = dense(input);
    kernels::training::DistillTerms& terms = *call.terms;
    context->save_for_backward(head_gradients(
        state, head, input.requires_grad(), [&](std::int64_t first, std::int64_t count, at::Tensor& logits) {
          const at::Tensor teacher = at::linear(call.teacher.state.narrow(0, first, count), call.teacher.head);
          const kernels::training::DistillRows rows{count, head.size(0), data(teacher),
                                                    call.targets.const_data_ptr<std::int64_t>() + first,
                                                    data(call.weights) + first};
          const kernels::training::DistillTerms part =
              kernels::training::distill_rows(rows, call.mix, writable(logits));
          terms = {terms.ce + part.ce, terms.kl + part.kl, terms.tvd + part.tvd};
        }));
    return at::scalar_tensor(call.mix.ce * terms.ce + call.mix.kl * terms.kl + call.mix.tvd * terms.tvd,
                             state.options());
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    return {times(saved[0], grads[0]), times(saved[1], grads[0]), at::Tensor()};
  }
};

DistillLoss distill_loss_aten(const at::Tensor& logits, const at::Tensor& teacher_logits, const DistillCall& call) {
  const double t = call.mix.temperature;
  const at::Tensor ce = at::dot(at::cross_entropy_loss(logits, call.targets, {}, at::Reduction::None), call.weights);
  const at::Tensor log_q = at::log_softmax(logits / t, -1), log_p = at::log_softmax(teacher_logits / t, -1);
  const at::Tensor kl = at::dot(log_p.exp().mul(log_p - log_q).sum(-1), call.weights) * (t * t);
  const at::Tensor tvd = at::dot((log_p.exp() - log_q.exp()).abs().sum(-1), call.weights) * 0.5;
  return {call.mix.ce * ce + call.mix.kl * kl + call.mix.tvd * tvd,
          {ce.item<double>(), kl.item<double>(), tvd.item<double>()}};
}

}  // namespace

at::Tensor head_loss_training(const at::Tensor& state, const at::Tensor& head, const at::Tensor& targets,
                              const at::Tensor& weights) {
  FORETELL_CHECK(state.size(0) == targets.size(0) && state.size(0) == weights.size(0), "{} rows, {} targets",
                 state.size(0), targets.size(0));
  const bool casts = at::autocast::is_autocast_enabled(state.device().type());
  if (has_kernel(state) && !casts) return HeadLossFunction::apply(state, head, targets, weights);
  const at::Tensor logits = at::linear(state, head).to(at::kFloat);
  return at::dot(at::cross_entropy_loss(logits, targets, {}, at::Reduction::None), weights);
}

DistillLoss distill_loss_training(const at::Tensor& state, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights, const Teacher& teacher,
                                  const kernels::training::DistillMix& mix) {
  kernels::training::DistillTerms terms;
  const DistillCall call{targets, weights, {dense(teacher.state), teacher.head}, mix, &terms};
  const bool casts = at::autocast::is_autocast_enabled(state.device().type());
  if (has_kernel(state) && !casts) {
    const at::Tensor total = DistillFunction::apply(state, head, call);
    return {total, terms};
  }
  return distill_loss_aten(at::linear(state, head).to(at::kFloat),
                           at::linear(teacher.state, teacher.head).to(at::kFloat), call);
}

}  // namespace foretell::autograd
