// How good a model is on conversations that it has not learned from.
//
// Contract: the same held-out conversations every time. The loss is that of answers (weight 1), per family and over
// all. Exact match is the share of answers that greedy decoding gives word for word; every turn is one answer, behind
// the true answers of the turns before it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/api/request.h"
#include "framework/training/batches.h"
#include "framework/training/learner.h"

namespace foretell::training {

struct HeldoutAnswer {
  std::string family;
  Tokens prompt;
  std::string expected;
  int max_new_tokens = 0;
};

struct HeldoutSet {
  std::vector<Sample> samples;
  std::vector<HeldoutAnswer> answers;
  std::vector<Token> stop_tokens;
};

HeldoutSet make_heldout_tasks(const TrainDataSettings& data, const TrainBatchSettings& batch, int each,
                              const ConversationWriter& writer);

// By family; "" is all of them together. Values of the measure, between 0 and 1 for a share.
using ByFamily = std::map<std::string, double>;

// What completes a batch before a learner sees it: with its target's states.
using Prepare = std::function<void(autograd::TrainBatch&)>;

ByFamily heldout_loss(const Learner& learner, std::span<const Sample> samples, const TrainBatchSettings& batch,
                      at::Device device, const Prepare& prepare = {});

// By exit of a learner that has some (Learner::exits), over all samples.
std::vector<double> heldout_exit_losses(const Learner& learner, std::span<const Sample> samples,
                                        const TrainBatchSettings& batch, at::Device device,
                                        const Prepare& prepare = {});

// The answers' requests, greedy.
std::vector<Request> heldout_requests(const HeldoutSet& heldout);

// Of the target's greedy answers when a draft proposes tokens: rounds pooled, the target's own token included.
struct HeldoutAcceptance {
  ByFamily length;                  // [tokens / round] mean_acceptance_length
  std::vector<double> by_position;  // conditional_acceptance_per_position; shorter where a place was never decided
};
HeldoutAcceptance heldout_acceptance(const std::shared_ptr<const model::LanguageModel>& target,
                                     const DraftedBy& drafted_by, const HeldoutSet& heldout);

// The target's own greedy answers to the held-out prompts as samples, answers alone with a weight; those longer than
// a row are left out.
std::vector<Sample> answered_samples(const std::shared_ptr<const model::LanguageModel>& target,
                                     const HeldoutSet& heldout, int length);

// By position how often a draft would be accepted if all before it were, at temperature 0 on these texts
// (Learner::draft_hits); empty where the learner has no draft.
std::vector<double> teacher_forced_acceptance(const Learner& learner, std::span<const Sample> samples, int depth,
                                              const TrainBatchSettings& batch, at::Device device,
                                              const Prepare& prepare = {});

// 1 + a1 + a1 a2 + ...: what acceptance by position makes of the mean acceptance length, if it held everywhere.
double length_of(std::span<const double> by_position);

ByFamily exact_match_share(const std::shared_ptr<const model::LanguageModel>& model, const HeldoutSet& heldout,
                           const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer);

}  // namespace foretell::training
