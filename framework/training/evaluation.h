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
#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/batches.h"

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

ByFamily heldout_loss(const autograd::TrainableTransformer& model, std::span<const Sample> samples,
                      const TrainBatchSettings& batch);

// The answers' requests, greedy.
std::vector<Request> heldout_requests(const HeldoutSet& heldout);

// [tokens / round] mean_acceptance_length of the target's greedy answers when `draft` proposes `depth` tokens a round:
// rounds pooled, the target's own token included.
ByFamily acceptance_length(const std::shared_ptr<const model::LanguageModel>& target,
                           const std::shared_ptr<const model::LanguageModel>& draft, int depth,
                           const HeldoutSet& heldout);

ByFamily exact_match_share(const std::shared_ptr<const model::LanguageModel>& model, const HeldoutSet& heldout,
                           const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer);

}  // namespace foretell::training
