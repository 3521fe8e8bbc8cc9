#include "framework/training/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

using foretell::training::Learner;

template <>
foretell::Registry<Learner>& foretell::Registry<Learner>::instance() {
  static Registry<Learner> registry;
  return registry;
}
template <>
const char* foretell::Registry<Learner>::kind() {
  return "learner";
}
// A learner is no part of the public interfaces: one that a plug-in brings is taken as it is.
template <>
std::unique_ptr<Learner> foretell::Registry<Learner>::guard(const PluginStrategy&, std::unique_ptr<Learner> learner) {
  return learner;
}

namespace foretell::training {

void TargetSettings::declare(Parameters& p) {
  where = p.where();
  p.add("target", folder, "the folder of the frozen target");
  p.add("target_dtype", dtype, "that the target is computed in, for its answers, states and acceptance",
        {.choices = {"f32", "bf16", "int8"}});
  p.add("answers", answers, "whose answers are learned: the target's own to the training prompts, or the data's",
        {.choices = {"target", "data"}});
  p.add("samples", samples, "conversations that the target answers", {.min = 1});
  p.add("answer_temperature", answer_temperature, "of these answers", {.min = 0.0});
  p.add("cache", cache, "folder where these answers are kept; none: the one that is made");
  p.add("acceptance_depth", acceptance_depth, "drafted tokens when acceptance is measured", {.min = 1, .max = 64});
}

double Learner::heldout_loss(const autograd::TrainBatch& batch) const { return training_loss(batch); }

double Learner::training_loss(const autograd::TrainBatch& batch) const {
  const c10::NoGradGuard no_grad;
  return loss(batch).total.item<double>() * batch.normaliser;
}

at::Tensor Learner::draft_hits(const autograd::TrainBatch&, int) const { return {}; }

std::int64_t Learner::parameter_count() const {
  std::int64_t count = 0;
  for (const autograd::TrainParameter& parameter : parameters()) count += parameter.value.numel();
  return count;
}

ConfigValue drafter_section(const std::string& type, int depth) {
  return ConfigValue::map({{"type", ConfigValue::scalar(type), {}},
                           {"num_speculative_tokens", ConfigValue::scalar(fmt::format("{}", depth)), {}}});
}

NextTokens next_tokens(const autograd::TrainBatch& batch) {
  NextTokens next{at::full({batch.tokens.size(0)}, -1, batch.tokens.options()),
                  at::zeros({batch.tokens.size(0)}, batch.weights.options())};
  next.token.index_copy_(0, batch.loss_rows, batch.targets);
  next.weight.index_copy_(0, batch.loss_rows, batch.weights);
  return next;
}

at::Tensor shifted(const at::Tensor& values, const autograd::TrainBatch& batch, std::int64_t by, double otherwise) {
  if (by == 0) return values;
  at::Tensor out = at::full_like(values, otherwise);
  const std::int64_t rows = values.size(0) - by;
  if (rows <= 0) return out;
  const at::Tensor same =
      batch.positions.narrow(0, by, rows) == batch.positions.narrow(0, 0, rows) + by;  // else it is another sequence's
  const at::Tensor later = values.narrow(0, by, rows);
  std::vector<std::int64_t> shape(static_cast<std::size_t>(values.dim()), 1);
  shape[0] = rows;
  at::Tensor first = out.narrow(0, 0, rows);
  first.copy_(at::where(same.view(shape), later, first));
  return out;
}

}  // namespace foretell::training
