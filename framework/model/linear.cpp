#include "framework/model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <limits>
#include <optional>
#include <string_view>

#include "framework/core/error.h"
#include "framework/kernels/kernels.h"
#include "framework/kernels/ternary.h"
#include "framework/kernels/tile_product.h"

namespace foretell::model {
namespace {

// Of matrices that a cache holds few rows are multiplied without an operator's overhead, whatever the processor has
// instructions for.
constexpr std::int64_t kSmallMatrix = 1 << 19, kFewRows = 8;

using ScalarList = c10::List<std::optional<at::Scalar>>;

at::Tensor reorder(const at::Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_reorder_linear_weight", "");
  torch::jit::Stack stack{weight, c10::IValue()};
  op.callBoxed(stack);
  return stack[0].toTensor();
}

at::Tensor multiply(const at::Tensor& x, const at::Tensor& packed, const std::optional<at::Tensor>& bias) {
  using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                               ScalarList, std::optional<std::string_view>);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(x, packed, bias, "none", ScalarList(), std::string_view());
}

bool has_bfloat16_instructions() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return true;  // elsewhere the libraries know best
#endif
}

at::Tensor gated_halves(const at::Tensor& wide, Activation activation) {
  const std::int64_t width = wide.size(1) / 2;
  const at::Tensor gate = kernels::activate(wide.narrow(1, 0, width), activation);
  return gate.mul(wide.narrow(1, width, width));
}

}  // namespace

Linear::Linear(at::Tensor weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  FORETELL_CHECK(weight_.dim() == 2, "a matrix of {} dimensions", weight_.dim());
  FORETELL_CHECK(!bias_.defined() || bias_.numel() == weight_.size(0), "{} biases for {} outputs", bias_.numel(),
                 weight_.size(0));
  type_ = weight_.scalar_type();
  outputs_ = weight_.size(0);
  inputs_ = weight_.size(1);
  bytes_ = weight_.nbytes() + (bias_.defined() ? bias_.nbytes() : 0);
}

Linear Linear::ternary(at::Tensor weight, at::Tensor output_scales) {
  Linear result(std::move(weight), {});
  FORETELL_CHECK(output_scales.numel() == result.outputs_, "{} scales for {} outputs", output_scales.numel(),
                 result.outputs_);
  result.output_scales_ = std::move(output_scales);
  result.bytes_ += result.output_scales_.nbytes();
  return result;
}

void Linear::pack(const PackOptions& options) {
  if (is_packed_ || !weight_.device().is_cpu() || weight_.requires_grad()) return;
  is_packed_ = true;
  weight_ = weight_.contiguous();
  const bool ternary = output_scales_.defined();
  if (!ternary && weight_.scalar_type() == at::kDouble) return;  // nobody has kernels for it
  if (bias_.defined()) wide_bias_ = bias_.to(at::kFloat).contiguous();
  packed_rows_ = std::numeric_limits<std::int64_t>::max();
  if (ternary || options.int8) {
    packed_ = kernels::PackedMatrix(ternary ? weight_.to(at::kChar) : weight_, kernels::PackedMatrix::Type::Int8,
                                    options.gated && !ternary);
    bytes_ = packed_.bytes() + (bias_.defined() ? bias_.nbytes() : 0);
  } else if (!options.wide && type_ == at::kBFloat16 && has_bfloat16_instructions() &&
             !(kernels::has_tiles() && inputs_ % kernels::kTileInputs == 0)) {
    packed_rows_ = inputs_ * outputs_ <= kSmallMatrix ? kFewRows : 0;
    if (packed_rows_ > 0)
      packed_ = kernels::PackedMatrix(weight_, kernels::PackedMatrix::Type::BFloat16, options.gated);
    blocks_ = reorder(weight_);
  } else {
    packed_ = kernels::PackedMatrix(
        weight_, type_ == at::kFloat ? kernels::PackedMatrix::Type::Float32 : kernels::PackedMatrix::Type::BFloat16,
        options.gated);
  }
  weight_ = at::Tensor();
}

Linear Linear::int8_copy(bool gated) const {
  if (output_scales_.defined() || inputs_ == 0) return *this;
  Linear copy(weight_.defined() ? weight_ : packed_.defined() ? packed_.dequantize() : blocks_.to_dense(), bias_);
  FORETELL_CHECK(copy.weight_.device().is_cpu(), "int8 weights on {}", copy.weight_.device().str());
  copy.type_ = type_;
  copy.pack({.gated = gated, .int8 = true});
  return copy;
}

bool Linear::takes(const at::Tensor& x) const { return packed_.defined() && x.size(0) <= packed_rows_; }

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (!output_scales_.defined()) return multiplied(x);
  const kernels::QuantisedRows rows = kernels::quantise_rows(x, type_);
  return kernels::rescale(multiplied(rows.values), rows.scales, output_scales_, x.scalar_type());
}

at::Tensor Linear::forward_wide(const at::Tensor& x) const {
  return !output_scales_.defined() && takes(x) ? packed_.matmul_float(x.contiguous(), wide_bias_)
                                               : forward(x).to(at::kFloat);
}

void Linear::add_to(const at::Tensor& y, const at::Tensor& x) const {
  if (!output_scales_.defined() && takes(x) && y.is_contiguous())
    return packed_.matmul_accumulate(x.contiguous(), wide_bias_, y);
  y.add_(forward(x));
}

at::Tensor Linear::gated(const at::Tensor& x, Activation activation) const {
  if (!output_scales_.defined() && takes(x)) return packed_.matmul_glu(x.contiguous(), wide_bias_, activation);
  return gated_halves(forward(x), activation);
}

at::Tensor Linear::multiplied(const at::Tensor& x) const {
  if (takes(x)) return packed_.product(x.contiguous(), wide_bias_);
  const auto bias = bias_.defined() ? std::optional(bias_) : std::nullopt;
  return blocks_.defined() ? multiply(x, blocks_, bias) : at::linear(x, weight_, bias);
}

at::Tensor mlp_inside(const at::Tensor& x, const Linear& up, Activation activation, bool gated) {
  return gated ? up.gated(x, activation) : kernels::activate(up.forward(x), activation);
}

at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated) {
  return down.forward(mlp_inside(x, up, activation, gated));
}

}  // namespace foretell::model
