#include "framework/model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

#include "framework/base/error.h"
#include "framework/model/direct_product.h"
#include "framework/model/ternary.h"

namespace foretell {
namespace {

constexpr std::int64_t kDirectWork = 1 << 18;  // multiplications that take less time than the overhead of an operator
// Weights that a cache holds: direct_product reads them once for so many rows. From memory the library's blocks arrive faster (f32).
constexpr std::int64_t kSmallMatrix = 1 << 19, kFewRows = 8;

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
  type_ = weight_.scalar_type();
  outputs_ = weight_.size(0);
  inputs_ = weight_.size(1);
  bytes_ = weight_.nbytes() + (bias_.defined() ? bias_.nbytes() : 0);
}

Linear Linear::ternary(at::Tensor weight, at::Tensor output_scales) {
  Linear result(std::move(weight), {});
  FORETELL_CHECK(output_scales.numel() == result.outputs_, "{} scales for {} outputs", output_scales.numel(), result.outputs_);
  result.output_scales_ = std::move(output_scales);
  result.bytes_ += result.output_scales_.nbytes();
  return result;
}

void Linear::pack() {
  if (is_packed_ || !weight_.device().is_cpu() || weight_.requires_grad()) return;
  is_packed_ = true;
  weight_ = weight_.contiguous();
  if (weight_.scalar_type() == at::kDouble) return;  // neither has kernels for it
  const std::int64_t size = inputs_ * outputs_;
  direct_rows_ = size <= kSmallMatrix ? std::max(kFewRows, kDirectWork / std::max<std::int64_t>(size, 1)) : 0;
  if (weight_.scalar_type() == at::kBFloat16 && !has_bfloat16_instructions()) {
    direct_rows_ = std::numeric_limits<std::int64_t>::max();
    return;
  }
  blocks_ = reorder(weight_);
  if (direct_rows_ == 0) weight_ = at::Tensor();
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (!output_scales_.defined()) return multiplied(x);
  const QuantisedRows rows = quantise_rows(x, type_);
  return rescale(multiplied(rows.values), rows.scales, output_scales_, x.scalar_type());
}

at::Tensor Linear::multiplied(const at::Tensor& x) const {
  if (x.size(0) <= direct_rows_ && x.is_contiguous()) return direct_product(x, weight_, bias_);
  const auto bias = bias_.defined() ? std::optional(bias_) : std::nullopt;
  return blocks_.defined() ? multiply(x, blocks_, bias) : at::linear(x, weight_, bias);
}

}  // namespace foretell
