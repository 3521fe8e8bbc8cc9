#include "framework/training/learners/heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/formats/safetensors.h"
#include "framework/model/stored_values.h"
#include "framework/training/autograd/training_ops.h"

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

// Gain and bias are what the norm makes of states that are normed already: ones, or ones of both signs in turn.
FrozenNorm::FrozenNorm(const model::LanguageModel& target, at::Device device)
    : centred_(target.config().norm == formats::NormKind::Layer), eps_(target.config().norm_eps) {
  const std::int64_t hidden = target.config().hidden_size;
  FORETELL_CHECK(!centred_ || hidden % 2 == 0, "a hidden size of {}", hidden);
  at::Tensor gain, bias;
  {
    const c10::InferenceMode inference;
    const at::TensorOptions options = target.parts()->embed(Tokens{0}).options();
    at::Tensor unit = at::ones({1, hidden}, options);
    if (centred_) unit.view({hidden / 2, 2}).select(1, 1).fill_(-1);
    const auto normed = [&](const at::Tensor& state) {
      return target.parts()->final_norm(state).view({hidden}).to(at::kFloat);
    };
    bias = normed(at::zeros({1, hidden}, options));
    gain = (normed(unit) - bias) * unit.view({hidden}).to(at::kFloat) * std::sqrt(1 + eps_);
  }
  gain_ = gain.to(device, at::kFloat, false, true);
  if (centred_) bias_ = bias.to(device, at::kFloat, false, true);
}

at::Tensor FrozenNorm::operator()(const at::Tensor& state) const {
  if (centred_) return at::layer_norm(state, {state.size(1)}, gain_, bias_, eps_);
  return autograd::rms_norm_training(state, gain_, eps_);
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

std::uint64_t batch_hash(const autograd::TrainBatch& batch) {
  const at::Tensor ids = batch.tokens.to(at::kCPU).contiguous();
  std::uint64_t hash = 0;
  for (const std::int64_t id : std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())))
    hash = mix64(hash ^ static_cast<std::uint64_t>(id));
  return hash;
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
