// How far a draft model agrees with its target on given text, and what acceptance that predicts.
//
// Contract: teacher forcing: both models read the same tokens, and their distributions of every next token are
// compared. Under rejection sampling a token drawn from q is accepted with probability sum_x min(p(x), q(x)) (Leviathan
// et al. 2022, arXiv 2211.17192); at temperature 0 that is 1 where the argmaxes agree, else 0. The prediction takes
// positions for independent and alike, which they are not: agreement comes in runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "framework/model/language_model.h"
#include "framework/sampling/sampling.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::analysis {

struct Passage {
  Tokens tokens;
  int first = 1;  // the distributions of tokens[first] and of all after it are compared
};

struct OverlapReport {
  std::int64_t positions = 0;
  double argmax_agreement = 0;     // [1] share of positions
  double expected_acceptance = 0;  // [1] mean of sum_x min(p(x), q(x)), both warped by the sampling options
  double target_perplexity = 0, draft_perplexity = 0;  // of a token, at temperature 1
};

// Passages longer than a context are cut to it. An Error if no position is left.
OverlapReport measure_overlap(const model::LanguageModel& target, const model::LanguageModel& draft,
                              std::span<const Passage> passages, const SamplingOptions& sampling);

// `count` passages, spread evenly over the file: `tokens` tokens each, behind a first token of its own if the tokenizer
// has one. Fewer where the text ends before a passage is full; an Error if none is.
std::vector<Passage> cut_passages(const std::filesystem::path& text, const tokenizers::Tokenizer& tokenizer, int count,
                                  int tokens);

// [tokens / round] (1 - a^(k + 1)) / (1 - a): a draft of `depth` tokens, each accepted with probability `acceptance`
// (equation 1 of the paper above).
double predicted_acceptance_length(double acceptance, int depth);

}  // namespace foretell::analysis
