// A whole run: from settings to a folder with what was learned.
//
// Contract: the constructor loads and checks everything, so that a mistake is an Error before the first step. If `out`
// holds a checkpoint of the same settings the run goes on from it. run() returns when all steps are done or when `stop`
// says so; either way the newest state lies in `out`, and what was learned: as it is, or as it was when held-out
// acceptance was best (run.keep). Which learner it is the run does not know. Settings that shape the curve must not
// change between starts; how often something is written may.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "framework/core/stopwatch.h"
#include "framework/training/checkpoint.h"
#include "framework/training/distillation.h"
#include "framework/training/evaluation.h"

namespace foretell::training {

struct TrainProgress {
  int step = 0;
  int steps = 0;
  double loss = 0;
  double learning_rate = 0;
  double tokens_per_second = 0;  // through the model, since the last report
  double seconds_left = 0;
};

struct TrainHooks {
  std::function<void(const TrainProgress&)> on_step = [](const TrainProgress&) {};
  std::function<void(const std::string&)> note = [](const std::string&) {};
  std::function<bool()> stop = [] { return false; };
};

class TrainingRun {
 public:
  // `restart`: forgets a checkpoint that lies in `out`.
  TrainingRun(TrainSettings settings, std::filesystem::path out, bool restart);

  int steps_done() const { return trainer_->steps_done(); }
  const TrainSettings& settings() const { return settings_; }
  const Learner& learner() const { return *learner_; }

  // Whether all steps are done.
  bool run(const TrainHooks& hooks);

 private:
  std::filesystem::path tokenizer_path() const;
  void load_tokenizer();
  void load_target();
  void check_sections() const;
  void load_data();
  ConversationWriter writer() const;
  bool has_data(const TrainHooks& hooks);
  void make_trainer();
  void resume(bool restart);
  void after_step(const StepReport& report, const TrainHooks& hooks);
  void evaluate(CurvePoint& point, const TrainHooks& hooks);
  void measure_acceptance(CurvePoint& point, std::string& text);
  std::filesystem::path saved_for_evaluation() const;
  void measure_exits(CurvePoint& point, std::string& text);
  bool keeps_best() const;
  int best_step() const;
  void save();
  AnswerRequest answer_request() const;
  std::filesystem::path checkpoint_file() const { return out_ / "checkpoint" / "state.safetensors"; }

  TrainSettings settings_;
  std::filesystem::path out_;
  at::Device device_;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  std::shared_ptr<Learner> learner_;
  std::shared_ptr<const model::LanguageModel> target_;  // frozen; none for learners without one
  Prepare prepare_;                                     // adds the target's states to a batch
  std::shared_ptr<const SampleSource> source_;
  HeldoutSet heldout_;
  std::optional<std::vector<Sample>> answered_;  // held-out prompts with the target's own answers, once they are asked
  std::unique_ptr<Trainer> trainer_;
  RunState state_;
  Stopwatch watch_;            // since the last step's end
  double window_seconds_ = 0;  // since the last line of the curve
  std::int64_t window_tokens_ = 0;
  double own_seconds_ = 0;  // since this process began or went on
  int own_steps_ = 0;
};

}  // namespace foretell::training
