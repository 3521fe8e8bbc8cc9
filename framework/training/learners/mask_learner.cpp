#include "framework/training/learners/mask_learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::training::learners {

void MaskLearnerOptions::declare(Parameters& p) {
  target.declare(p);
  p.add("depths", drop.depths, "tokens of a draft that are learned, the first one without a mask",
        {.min = 1, .max = 64, .aliases = {"para_num"}});
  p.add("keep", drop.keep, "depth d is learned at keep^d of the rows with a loss", {.min = 0.01, .max = 1.0});
  p.add("keep_least", drop.least, "and at this share of them at least", {.min = 0.0, .max = 1.0});
  p.add("mask_token", mask_token, "the id that becomes the mask; none: the last of the vocabulary",
        {.min = 0, .aliases = {"pard_token"}});
}

void MaskLearner::set_up(const LearnerInputs& inputs) {
  ModelLearner::set_up(inputs);
  check_vocabulary(*inputs.target, options_.target);
  const int vocab = model_->config().vocab_size, mask = options_.mask_token.value_or(vocab - 1);
  if (mask >= vocab) fail_at(options_.target.where, "mask_token: {}, the model has ids 0 to {}", mask, vocab - 1);
  mask_ = mask;
}

at::Tensor MaskLearner::draft_hits(const autograd::TrainBatch& batch, int depth) const {
  const c10::NoGradGuard no_grad;
  const MaskedBatch all = with_masks(batch, {.depths = depth, .all = true}, mask_);
  const at::Tensor best = model_->logits(model_->forward(all.rows, nullptr, added(batch, all))).argmax(-1);
  const NextTokens next = next_tokens(batch);
  std::vector<at::Tensor> hits;
  for (std::int64_t d = 0; d < depth; ++d) {
    const at::Tensor rows = all.depths.eq(d).nonzero().view({-1});
    at::Tensor said = at::full_like(next.token, -1);  // by the row that is known last
    said.index_copy_(0, all.anchors.index_select(0, rows), best.index_select(0, rows));
    const at::Tensor expected = shifted(next.token, batch, d + 1, -1), own = shifted(said, batch, 1, -1);
    hits.push_back(at::where(expected.lt(0), expected, own.eq(expected).to(at::kLong)));
  }
  return at::stack(hits);
}

void MaskLearner::save(const std::filesystem::path& folder) const {
  ModelLearner::save(folder);
  auto config = nlohmann::ordered_json::parse(formats::model_config_json(model_->config()));
  config["pard_token"] = mask_;
  config["spd_type"] = name();
  for (const auto& [key, value] : more_keys()) config[key] = nlohmann::ordered_json::parse(value);
  io::write_file(folder / "config.json", config.dump(2) + "\n");
}

std::optional<DraftedBy> MaskLearner::drafter(const std::filesystem::path& folder, int depth) const {
  ConfigValue section = drafter_section(name(), depth);
  section.set("head", ConfigValue::scalar(folder.string(), {}, true));
  return DraftedBy{section, {}};
}

}  // namespace foretell::training::learners
