// Where two runs of one target say different things, and whether the target itself can tell the two tokens apart there.
//
// A round scores several rows at once, and a forward of several rows adds its numbers in another order than a forward
// of one: logits that are nearly equal may change places. Such a tie is no fault. So at the first token that differs
// the target reads the common text again, in single rows, and the logits of the two tokens (after penalties and biases,
// as they were chosen by) are compared with the noise of the very same position: what the row moves when it is read
// together with others.
//
// Contract: greedy runs only.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "experiments/analysis/divergence.h"
#include "experiments/results/record.h"
#include "framework/core/types.h"
#include "framework/model/language_model.h"
#include "framework/sampling/sampling.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::analysis {

// How coarse the target's arithmetic is: the size of its last place relative to a number.
struct Precision {
  double rounding = 1e-6;
  std::string dtype = "f32";
  static Precision of(const std::string& dtype);  // "f32", "bf16", "float32", ...
};

// What stands before a position. Penalties tell the two parts apart.
struct TextBefore {
  TokenSpan prompt, answer;
};

// What the target's logits behind a text say, as the sampler adjusts them, and how far the best two move when the row
// is read in forwards of several rows.
struct Margin {
  Token best, second;
  double margin, noise;
  std::vector<float> logits;
};
Margin measure_margin(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
                      const Precision& precision);

// A position of a greedy answer whose two best logits the target's arithmetic cannot tell apart: decoded in forwards of
// other sizes, the other token may come out.
struct NearTie {
  int position;  // of the answer's tokens
  Token best, second;
  double margin, noise;
};
// By one reading of the whole text. The noise is one rounding of the logit: nearer than that two runs often differ, up
// to several times that they may, which judge() decides for a difference that was seen.
std::vector<NearTie> near_ties(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
                               const Precision& precision);

// Fills in best, second, margin, gap, noise and is_tie.
void judge(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
           const Precision& precision, Divergence& divergence);

using AnswersByPlace =
    std::map<std::tuple<std::string, int, int>, const results::GenerationRecord*>;  // conversation, turn, repeat
// `repeats`: only so many of each.
AnswersByPlace answers_by_place(std::span<const results::GenerationRecord> records, results::PipelineVariant arm,
                                std::optional<int> repeats = {});

// What judging needs of the run that the answers are of. prompt(): the tokens before an answer.
struct DivergenceSource {
  const model::LanguageModel& target;
  const SamplingOptions& sampling;
  Precision precision;
  const tokenizers::Tokenizer* tokenizer = nullptr;
  std::function<Tokens(const results::GenerationRecord&)> prompt;
  std::function<void()> on_judged = {};  // after each difference
};
Divergences find_divergences(const AnswersByPlace& a, const AnswersByPlace& b, const DivergenceSource& source);

}  // namespace foretell::analysis
