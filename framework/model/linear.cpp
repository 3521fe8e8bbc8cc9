#include "framework/model/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <optional>

#include "framework/core/error.h"
#include "framework/kernels/kernels.h"
#include "framework/kernels/ternary.h"

namespace foretell::model {
namespace {

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

Linear Linear::int4(const kernels::Int4Values& values, at::Tensor bias, at::ScalarType type, bool gated) {
  Linear result;
  result.int4_ = kernels::Int4Matrix(values, gated);
  result.bias_ = std::move(bias);
  if (result.bias_.defined()) result.wide_bias_ = result.bias_.to(at::kFloat).contiguous();
  result.type_ = type;
  result.inputs_ = result.int4_.inputs();
  result.outputs_ = result.int4_.outputs();
  result.bytes_ = result.int4_.bytes() + (result.bias_.defined() ? result.bias_.nbytes() : 0);
  result.is_packed_ = true;
  return result;
}

void Linear::pack(const PackOptions& options) {
  if (is_packed_ || !weight_.device().is_cpu() || weight_.requires_grad()) return;
  is_packed_ = true;
  weight_ = weight_.contiguous();
  const bool ternary = output_scales_.defined();
  if (!ternary && weight_.scalar_type() == at::kDouble) return;  // nobody has kernels for it
  if (bias_.defined()) wide_bias_ = bias_.to(at::kFloat).contiguous();
  if (options.int4 && !options.int8 && !ternary) {
    int4_ = kernels::Int4Matrix(kernels::rounded_to_int4(weight_, *options.int4), options.gated);
    bytes_ = int4_.bytes() + (bias_.defined() ? bias_.nbytes() : 0);
  } else if (ternary || options.int8) {
    packed_ = kernels::PackedMatrix(ternary ? weight_.to(at::kChar) : weight_, kernels::PackedMatrix::Type::Int8,
                                    options.gated && !ternary);
    bytes_ = packed_.bytes() + (bias_.defined() ? bias_.nbytes() : 0);
  } else {
    packed_ = kernels::PackedMatrix(
        weight_, type_ == at::kFloat ? kernels::PackedMatrix::Type::Float32 : kernels::PackedMatrix::Type::BFloat16,
        options.gated);
  }
  weight_ = at::Tensor();
}

Linear Linear::rounded(const WeightRounding& to, bool gated) const {
  if (output_scales_.defined() || inputs_ == 0) return *this;
  Linear copy(weight_.defined() ? weight_ : int4_.defined() ? int4_.dequantize() : packed_.dequantize(), bias_);
  FORETELL_CHECK(copy.weight_.device().is_cpu(), "rounded weights on {}", copy.weight_.device().str());
  copy.type_ = type_;
  copy.pack({.gated = gated, .int8 = !to.int4, .int4 = to.int4});
  return copy;
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (!output_scales_.defined()) return multiplied(x);
  const kernels::QuantisedRows rows = kernels::quantise_rows(x, type_);
  return kernels::rescale(multiplied(rows.values), rows.scales, output_scales_, x.scalar_type());
}

at::Tensor Linear::forward_some(const at::Tensor& x, std::span<const std::int64_t> outputs) const {
  constexpr std::int64_t kPanel = kernels::PackedMatrix::kPanelOutputs;
  const at::Tensor index = at::tensor(std::vector<std::int64_t>(outputs.begin(), outputs.end()), at::kLong);
  if (!output_scales_.defined() && weight_.defined()) {
    const at::Tensor rows = index.to(weight_.device());
    const auto bias = bias_.defined() ? std::optional(bias_.index_select(0, rows)) : std::nullopt;
    return at::linear(x, weight_.index_select(0, rows), bias).to(at::kFloat);
  }
  if (output_scales_.defined() || !packed_.defined()) return forward_wide(x).index_select(1, index);
  std::vector<std::int64_t> panels, places;
  for (const std::int64_t output : outputs) {
    const auto found = std::find(panels.begin(), panels.end(), output / kPanel);
    places.push_back((found - panels.begin()) * kPanel + output % kPanel);
    if (found == panels.end()) panels.push_back(output / kPanel);
  }
  const at::Tensor some = packed_.panels(panels).matmul_float(x.contiguous(), {});
  const at::Tensor chosen = some.index_select(1, at::tensor(places, at::kLong));
  return wide_bias_.defined() ? chosen.add(wide_bias_.index_select(0, index)) : chosen;
}

at::Tensor Linear::forward_wide(const at::Tensor& x) const {
  if (int4_.defined()) return int4_.matmul_float(x.contiguous(), wide_bias_);
  return !output_scales_.defined() && packed_.defined() ? packed_.matmul_float(x.contiguous(), wide_bias_)
                                                        : forward(x).to(at::kFloat);
}

void Linear::add_to(const at::Tensor& y, const at::Tensor& x) const {
  if (int4_.defined() && y.is_contiguous()) return int4_.matmul_accumulate(x.contiguous(), wide_bias_, y);
  if (!output_scales_.defined() && packed_.defined() && y.is_contiguous())
    return packed_.matmul_accumulate(x.contiguous(), wide_bias_, y);
  y.add_(forward(x));
}

at::Tensor Linear::gated(const at::Tensor& x, Activation activation) const {
  if (int4_.defined()) return int4_.matmul_glu(x.contiguous(), wide_bias_, activation);
  if (!output_scales_.defined() && packed_.defined()) return packed_.matmul_glu(x.contiguous(), wide_bias_, activation);
  return gated_halves(forward(x), activation);
}

at::Tensor Linear::multiplied(const at::Tensor& x) const {
  if (int4_.defined()) return int4_.product(x.contiguous(), wide_bias_);
  if (packed_.defined()) return packed_.product(x.contiguous(), wide_bias_);
  return at::linear(x, weight_, bias_.defined() ? std::optional(bias_) : std::nullopt);
}

at::Tensor mlp_inside(const at::Tensor& x, const Linear& up, Activation activation, bool gated) {
  return gated ? up.gated(x, activation) : kernels::activate(up.forward(x), activation);
}

at::Tensor mlp_rows(const at::Tensor& x, const Linear& up, const Linear& down, Activation activation, bool gated) {
  return down.forward(mlp_inside(x, up, activation, gated));
}

}  // namespace foretell::model
