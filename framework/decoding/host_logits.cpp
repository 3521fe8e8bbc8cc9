#include "framework/decoding/host_logits.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/max.h>

#include <cmath>

#include "framework/core/error.h"
#include "framework/sampling/sampling.h"

namespace foretell::decoding {

HostLogits::HostLogits(at::Tensor logits) : logits_(std::move(logits)), vocab_(static_cast<int>(logits_.size(1))) {
  FORETELL_CHECK(logits_.scalar_type() == at::kFloat, "logits of type {}", c10::toString(logits_.scalar_type()));
  if (logits_.is_cpu()) host_ = logits_.contiguous();
}

std::span<const float> HostLogits::row(int index) {
  if (!host_.defined()) host_ = logits_.cpu().contiguous();
  return {host_.const_data_ptr<float>() + static_cast<std::int64_t>(index) * vocab_, static_cast<std::size_t>(vocab_)};
}

void HostLogits::fetch_argmax() {
  const auto [values, indices] = at::max(logits_, 1);
  const at::Tensor maxima = values.cpu(), places = indices.to(at::kInt).cpu();
  maximum_.assign(maxima.const_data_ptr<float>(), maxima.const_data_ptr<float>() + maxima.numel());
  argmax_.assign(places.const_data_ptr<int>(), places.const_data_ptr<int>() + places.numel());
}

Token HostLogits::argmax(int index) {
  if (logits_.is_cpu()) return argmax_checked(row(index));
  if (argmax_.empty()) fetch_argmax();
  // NaN wins a maximum, so a finite one proves the row clean; else the host's check words the error.
  return std::isfinite(maximum_[index]) ? argmax_[index] : argmax_checked(row(index));
}

}  // namespace foretell::decoding
