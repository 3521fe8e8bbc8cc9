// What learners of draft models with mask tokens share: a language model, the batch with its masks, the files.
//
// Contract: the published layout: an ordinary checkpoint whose config.json has `pard_token` and `spd_type`. Every depth
// counts by its rows: the loss is a mean over the rows of text and the masks together.
#pragma once

#include <optional>

#include "framework/training/learners/masked_rows.h"
#include "framework/training/learners/model_learner.h"

namespace foretell::training::learners {

struct MaskLearnerOptions {
  TargetSettings target;
  ConditionalDrop drop;
  std::optional<int> mask_token;
  void declare(Parameters& p);
};

class MaskLearner : public ModelLearner {
 public:
  const TargetSettings* target() const override { return &options_.target; }
  void set_up(const LearnerInputs& inputs) override;
  double heldout_loss(const autograd::TrainBatch& batch) const override { return training_loss(batch); }
  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override;
  bool drafts_from_folder() const override { return true; }
  void save(const std::filesystem::path& folder) const override;
  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override;

 protected:
  explicit MaskLearner(MaskLearnerOptions options) : options_(std::move(options)) {}

  virtual const char* name() const = 0;  // of the drafter, and in config.json
  // What is added to the embeddings of the batch's rows and masks; undefined: nothing.
  virtual at::Tensor added(const autograd::TrainBatch&, const MaskedBatch&) const { return {}; }
  // Keys of config.json besides, as ("pard2_scale", "0.02"): JSON.
  virtual std::vector<std::pair<std::string, std::string>> more_keys() const { return {}; }

  MaskedBatch masked(const autograd::TrainBatch& batch) const { return with_masks(batch, options_.drop, mask_); }

 private:
  MaskLearnerOptions options_;
  Token mask_ = 0;
};

}  // namespace foretell::training::learners
