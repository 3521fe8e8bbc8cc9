#include "framework/training/learners/heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/formats/safetensors.h"
#include "framework/model/stored_values.h"

namespace foretell::training::learners {

at::Tensor head_matrix(const model::LanguageModel& target, const Location& where) {
  if (target.parts() == nullptr) fail_at(where, "the target is no model whose head could be read");
  at::Tensor columns;
  {
    const c10::InferenceMode inference;
    const model::OutputHead& head = target.parts()->head();
    const at::TensorOptions options = target.parts()->embed(Tokens{0}).options();
    const std::int64_t hidden = target.config().hidden_size;
    const at::Tensor none = head.logits(at::zeros({1, hidden}, options));
    if (none.abs().max().item<double>() > 0) fail_at(where, "the target's head has a bias: that is not supported");
    columns = head.logits(at::eye(hidden, options)).t().contiguous();
  }
  return columns.to(at::kFloat, false, true);
}

at::Tensor embedded(const model::LanguageModel& target, const at::Tensor& ids) {
  const at::Tensor host = ids.to(at::kCPU, at::kInt).contiguous();
  const TokenSpan tokens(host.const_data_ptr<Token>(), static_cast<std::size_t>(host.numel()));
  return target.parts()->embed(tokens).to(at::kFloat, false, true);
}

at::Tensor leaf(const std::vector<std::int64_t>& shape, double deviation, std::int64_t seed, const std::string& name) {
  at::Tensor out = at::zeros(shape, at::kFloat);
  float* values = out.mutable_data_ptr<float>();
  const std::uint64_t key = mix64(static_cast<std::uint64_t>(seed) ^ mix64(name_hash(name)));
  for (std::int64_t i = 0; deviation > 0 && i < out.numel(); ++i)
    values[i] = static_cast<float>(deviation) * normal_at(key, static_cast<std::uint64_t>(i));
  return out.requires_grad_();
}

at::Tensor new_matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs, std::int64_t seed,
                      at::Device device) {
  const double deviation = 1 / std::sqrt(3.0 * static_cast<double>(inputs));
  return leaf({outputs, inputs}, deviation, seed, name).detach().to(device).requires_grad_();
}

at::Tensor new_gain(std::int64_t width, at::Device device) {
  return at::ones({width}, at::TensorOptions().device(device)).requires_grad_();
}

std::vector<formats::NewTensor> head_file_tensors(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                                                  const std::string& save_dtype) {
  std::vector<formats::NewTensor> list;
  list.reserve(tensors.size());
  for (const auto& [name, value] : tensors)
    list.push_back(model::stored_as(name, value.detach(), save_dtype == "bf16" ? at::kBFloat16 : at::kFloat));
  return list;
}

void write_head(const std::filesystem::path& file, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                const std::string& save_dtype) {
  formats::write_safetensors(file, head_file_tensors(tensors, save_dtype));
}

}  // namespace foretell::training::learners
