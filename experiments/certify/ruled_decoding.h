// Whether a model under rules says the same of a text whatever else it does: what every lossless verifier counts on.
//
// Contract: greedy texts of three sequences, decoded alone and in a batch, plainly and with drafts, all through the
// production loop.
#pragma once

#include <memory>

#include "experiments/certify/checks.h"
#include "framework/decoding/forward_rules.h"

namespace foretell::certify {

constexpr int kRuledVocab = 16, kRuledSequences = 3;

// Where a model under these rules says something else in a batch, or with a draft; none if it does not. The model has
// kRuledVocab tokens.
Complaint ruled_decoding_complaint(const std::shared_ptr<const model::LanguageModel>& model,
                                   const decoding::ForwardRules& rules, Exercise& exercise);

}  // namespace foretell::certify
