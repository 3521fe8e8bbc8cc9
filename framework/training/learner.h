// What `foretell train` can teach, one file each: a language model, a draft of a target, heads on its states.
//
// Contract: a learner is made from the section `learner` of a training file ({type: name, ...}), then set_up() loads
// what it trains and checks that it fits; everything else comes after that. It is a Trainable: the loop (trainer.h)
// asks for parameters and a loss and knows none of them. What it reads of the frozen target stands beside the rows of
// each batch (TrainBatch::target). save() writes what was learned as it is used, in the layout that others read, and
// drafter() says how the ordinary decoding loop drafts with what was saved: held-out acceptance is measured there.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/core/registry.h"
#include "framework/model/language_model.h"
#include "framework/tokenizers/tokenizer.h"
#include "framework/training/autograd/trainable.h"
#include "framework/training/generation.h"

namespace foretell::training {

class SampleSource;
struct TrainSettings;

// The frozen target of a learner that has one, and its own answers as data.
struct TargetSettings {
  std::optional<std::string> folder;
  std::string dtype = "f32";
  std::string answers = "target";
  int samples = 2000;
  double answer_temperature = 0;
  int acceptance_depth = 4;
  std::optional<std::string> cache;
  Location where = {};
  void declare(Parameters& p);
};

struct LearnerInputs {
  const TrainSettings& settings;  // as long as the learner
  at::Device device;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer;
  std::shared_ptr<const model::LanguageModel> target = {};  // frozen; none where target() is none
};

class Learner : public Strategy, public autograd::Trainable {
 public:
  // None: it learns without a target.
  virtual const TargetSettings* target() const { return nullptr; }
  // Whether what it learns is a model, from the section `model` of the training file; else the target has all of that.
  virtual bool trains_model() const = 0;
  virtual void set_up(const LearnerInputs& inputs) = 0;
  // The training data, once before the first step (`fresh`) and once before each run that goes on: for what follows
  // from it. Weights may be set where it is fresh, their shapes are known before.
  virtual void see(const SampleSource&, bool /*fresh*/) {}

  // Of the target, by row of a batch.
  virtual HiddenStateRequest required_hidden_states() const { return {}; }
  // The weighted sum over a batch's loss rows of what is to fall, without a graph.
  virtual double heldout_loss(const autograd::TrainBatch& batch) const;
  // By place of a draft whether it would be accepted at temperature 0 if all before it were, with the batch's text as
  // the target's answer: int8 [depths, rows], 1 or 0, -1 where the text says nothing. Row t stands for the draft behind
  // the token that follows row t's. Undefined where the learner has no draft.
  virtual at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const;

  // Behind which layers rows of what is learned may leave, where an evaluation looks; none: they do not.
  virtual std::vector<int> exits() const { return {}; }
  // By exit what heldout_loss() is for the last layer.
  virtual std::vector<double> exit_losses(const autograd::TrainBatch&) const { return {}; }
  // The target (or the learned model) drafting for itself with that exit, as of what save() wrote to `folder`.
  virtual std::optional<DraftedBy> exit_drafter(const std::filesystem::path&, int) const { return std::nullopt; }

  // The learned model by itself, rounded as it is saved; null where it is none.
  virtual std::shared_ptr<const model::LanguageModel> snapshot() const { return nullptr; }
  virtual void save(const std::filesystem::path& folder) const = 0;
  // Whether drafter() needs what save() wrote; else the snapshot is all.
  virtual bool drafts_from_folder() const { return !trains_model(); }
  // With what save() wrote to `folder`. None: it does not draft.
  virtual std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const = 0;
  // "A llama model (4 layers, ...)", for the model card.
  virtual std::string description() const = 0;

  std::int64_t parameter_count() const;

 protected:
  // The weighted sum of what loss() says of a batch, without a graph.
  double training_loss(const autograd::TrainBatch& batch) const;
};

// {type: name, num_speculative_tokens: depth}
ConfigValue drafter_section(const std::string& type, int depth);

// What a batch says of the token that follows each row.
struct NextTokens {
  at::Tensor token;   // int64 [rows], -1 where the row has no loss
  at::Tensor weight;  // float32 [rows]
};
NextTokens next_tokens(const autograd::TrainBatch& batch);
// `values` [rows, ...] of the row that stands `by` rows later in the same sequence, `otherwise` where there is none.
at::Tensor shifted(const at::Tensor& values, const autograd::TrainBatch& batch, std::int64_t by, double otherwise);

}  // namespace foretell::training
