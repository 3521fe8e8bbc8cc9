#include "framework/model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <optional>
#include <string_view>

#include "framework/base/error.h"

namespace foretell {
namespace {

using ScalarList = c10::List<std::optional<at::Scalar>>;

at::Tensor reorder(const at::Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_reorder_linear_weight", "");
  torch::jit::Stack stack{weight, c10::IValue()};
  op.callBoxed(stack);
  return stack[0].toTensor();
}

at::Tensor multiply(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias) {
  using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view, ScalarList,
                               std::optional<std::string_view>);
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(x, packed, bias, "none", ScalarList(), std::string_view());
}

}  // namespace

Linear::Linear(at::Tensor weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  FORETELL_CHECK(weight_.dim() == 2, "a matrix of {} dimensions", weight_.dim());
  FORETELL_CHECK(!bias_.defined() || bias_.numel() == weight_.size(0), "{} biases for {} outputs", bias_.numel(), weight_.size(0));
  outputs_ = weight_.size(0);
  inputs_ = weight_.size(1);
  bytes_ = weight_.nbytes() + (bias_.defined() ? bias_.nbytes() : 0);
}

void Linear::pack() {
  if (is_packed() || !weight_.device().is_cpu() || weight_.requires_grad()) return;
  packed_ = reorder(weight_.contiguous());
  weight_ = at::Tensor();
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  const auto bias = bias_.defined() ? std::optional(bias_) : std::nullopt;
  if (!is_packed()) return at::linear(x, weight_, bias);
  return multiply(x, packed_, bias);
}

}  // namespace foretell
