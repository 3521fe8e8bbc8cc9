#include "framework/training/learners/path_learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"
#include "framework/model/heads/path_head.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

// The final states of a head's own layers, by row of the batch; padding has none of meaning.
at::Tensor prefix_states(const model::LanguageModel& layers, const autograd::TrainBatch& batch) {
  std::vector<std::unique_ptr<model::KvCache>> caches;
  std::vector<model::ForwardItem> items;
  for (const autograd::RowGroup& group : batch.groups) {
    for (std::int64_t i = 0; i < group.sequences; ++i) {
      caches.push_back(layers.make_cache(static_cast<int>(group.length)));
      items.push_back({batch.target.final_state.narrow(0, group.first_row + i * group.length, group.length),
                       model::ChainShape{}, caches.back().get(), model::LogitRows::None});
    }
  }
  model::ForwardOptions options;
  options.return_final_state = true;
  return layers.forward(items, options).final_state;
}

Tokens tokens_of(const at::Tensor& ids) {
  const at::Tensor host = ids.to(at::kCPU, at::kInt).contiguous();
  return {host.const_data_ptr<std::int32_t>(), host.const_data_ptr<std::int32_t>() + host.numel()};
}

}  // namespace

void PathLossOptions::declare(Parameters& p) {
  where = p.where();
  p.add("ce", ce, "weight of the cross-entropy of the answers", {.min = 0.0});
  p.add("kl", kl, "weight of the divergence KL(target || draft) of the tokens' distributions", {.min = 0.0});
  p.add("decay", decay, "the loss of step s, from 0, counts decay^s", {.min = 0.01, .max = 1.0});
}

PathLearner::PathLearner(PathLossOptions options) : options_(std::move(options)) {
  if (options_.ce + options_.kl <= 0) fail_at(options_.where, "ce and kl are both 0: nothing is learned");
}

void PathLearner::set_up(const LearnerInputs& inputs) {
  target_ = inputs.target;
  save_dtype_ = inputs.settings.run.save_dtype;
  target_head_ = head_matrix(*target_, target()->where).to(inputs.device);
}

autograd::TrainLoss PathLearner::loss(const autograd::TrainBatch& batch) const {
  const at::Tensor behind = tokens_behind(batch, next_tokens(batch));
  at::Tensor path = start(batch), total;
  autograd::TrainLoss out;
  out.terms.push_back({"loss", {}});
  for (int i = 0; i < steps(); ++i) {
    Step next = step(i, path, shifted(behind, batch, i, 0));
    path = std::move(next.path);
    const Said rows = said(batch, next.state, i);
    const autograd::DistillLoss apart = autograd::distill_loss_training(
        rows.state, output(i), rows.targets, rows.weights, {rows.expected, target_head_},
        {.ce = options_.ce, .kl = options_.kl, .tvd = 0, .temperature = 1});
    const at::Tensor own = apart.total / batch.normaliser, counted = own * std::pow(options_.decay, i);
    total = i == 0 ? counted : total + counted;
    out.terms.push_back({fmt::format("loss.{}", i + 1), own.detach()});
  }
  out.total = total;
  out.terms[0].value = total.detach();
  return out;
}

at::Tensor PathLearner::draft_hits(const autograd::TrainBatch& batch, int depth) const {
  const c10::NoGradGuard no_grad;
  const auto drafting = head();
  const NextTokens next = next_tokens(batch);
  const at::Tensor behind = tokens_behind(batch, next);
  const at::TensorOptions options = target_->parts()->embed(Tokens{0}).options();
  std::vector<at::Tensor> hits;
  const c10::InferenceMode inference;
  const at::Tensor states =
      drafting->prefix() != nullptr ? prefix_states(*drafting->prefix(), batch) : batch.target.final_state;
  at::Tensor path = drafting->start(states.to(options));
  for (int i = 0; i < std::min(depth, drafting->deepest()); ++i) {
    const model::heads::PathStep said = drafting->step(i, path, tokens_of(shifted(behind, batch, i, 0)));
    path = said.path;
    const at::Tensor expected = shifted(next.token, batch, i + 1, -1);
    const at::Tensor same = said.logits.argmax(-1).to(expected.device()).eq(expected).to(at::kLong);
    hits.push_back(at::where(expected.lt(0), at::full_like(expected, -1), same));
  }
  return at::stack(hits);
}

ConfigValue head_section(const std::string& type, const std::filesystem::path& folder, int depth) {
  ConfigValue section = drafter_section(type, depth);
  section.set("head", ConfigValue::scalar(folder.string(), {}, true));
  section.set("tree", ConfigValue::scalar("none"));
  return section;
}

}  // namespace foretell::training::learners
