// A draft model that learns to say what its target would say.
//
// Contract: target and draft share one vocabulary. The target is frozen; its distributions are computed for the rows
// that have a loss and for no others. Answers of the target's own are made once, greedily or at a temperature, and kept
// in a file, one JSON object a line in the order of the conversations, so that a run that was stopped goes on without
// asking twice.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/training/autograd/trainable.h"
#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/learner.h"
#include "framework/training/samples.h"

namespace foretell::training {

class DistillationLoss final : public autograd::Trainable {
 public:
  DistillationLoss(std::shared_ptr<const autograd::TrainableTransformer> draft,
                   std::shared_ptr<const autograd::TrainableTransformer> target, kernels::training::DistillMix mix)
      : draft_(std::move(draft)), target_(std::move(target)), mix_(mix) {}

  std::vector<autograd::TrainParameter> parameters() const override { return draft_->parameters(); }
  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override;

 private:
  std::shared_ptr<const autograd::TrainableTransformer> draft_, target_;
  kernels::training::DistillMix mix_;
};

struct AnswerRequest {
  std::filesystem::path file;  // where answers are kept
  TrainDataSettings data = {};
  TargetSettings asked = {};
  std::shared_ptr<const model::LanguageModel> target;
  std::function<void(int done, int all)> on_progress = {};
  std::function<bool()> stop = [] { return false; };
};

// The first `asked.samples` training conversations with the target's answers in place of the true ones; a
// conversation in which an answer did not come to its end is left out. Fewer if `stop` said so.
std::vector<datasets::TaskExample> target_answers(const ConversationWriter& writer, const AnswerRequest& request);

// "answers-0123456789abcdef.jsonl", named after all that answers depend on: the conversations, the target's files, the
// tokenizer's and how it answers. Not after how many there are: a run that wants more asks for the missing ones.
std::string answers_file_name(const AnswerRequest& request, const std::filesystem::path& tokenizer);

// Passes over these conversations, each in another order.
std::unique_ptr<SampleSource> make_example_source(std::vector<datasets::TaskExample> examples,
                                                  ConversationWriter writer, std::uint64_t seed);

}  // namespace foretell::training
