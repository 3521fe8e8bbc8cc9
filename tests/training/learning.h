// What tests of learners share: a target that counts, learners that train on it, and the checks that all of them pass.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/training/evaluation.h"
#include "framework/training/learner.h"
#include "framework/training/settings.h"
#include "framework/training/trainer.h"
#include "tests/training/helpers.h"

namespace foretell::testing {

extern const CountingSource kCounting;

TrainSettings head_settings(int steps);

// A model of this config that counts most of the time, and one of two layers.
std::shared_ptr<const LanguageModel> trained_to_count(const std::string& config);
std::shared_ptr<const LanguageModel> counting_target();
// Ids 0 to 25, for learners of models, which ask for one.
std::shared_ptr<const Tokenizer> few_tokens();

struct Learned {
  TrainSettings settings;
  std::shared_ptr<Learner> learner;
  Prepare prepare;
  std::unique_ptr<Trainer> trainer;
};
std::unique_ptr<Learned> learn(const std::string& section, TrainSettings settings, int steps,
                               const std::shared_ptr<const LanguageModel>& target = counting_target());

// A model of this config, from new weights.
std::unique_ptr<Learned> learn_model(const std::string& section, TrainSettings settings, int steps,
                                     const std::string& config);

HeldoutSet counting_prompts();
TrainBatch some_batch(const Prepare& prepare);

// The derivative of the loss by some elements of each parameter, against differences.
void check_gradients(Learned& learned, double tolerance, double least_margin = 1e-4);

// In the ordinary loop the drafts of what was saved are accepted exactly as the hits with the text given say.
void check_acceptance(const Learned& learned, int depth, double above, double below);

}  // namespace foretell::testing
