// Where two runs of one target say different things, and whether the target itself can tell the two tokens apart there.
//
// A round scores several rows at once, and a forward of several rows adds its numbers in another order than a forward of one: logits that are nearly
// equal may change places. Such a tie is no fault. So at the first token that differs the target reads the common text again, in single rows, and its two
// best logits (after the penalties and bias of the runs) are compared with the noise of the very same position: what its logits move when it is
// read together with others.
//
// Contract: greedy runs only. Turns behind a difference have other prompts and are not compared; they are counted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/base/types.h"
#include "framework/model/language_model.h"
#include "framework/sampling/sampling.h"

namespace foretell {

struct Divergence {
  std::string conversation = {};
  int turn = 0, repeat = 0;
  int position = 0;                     // of the answer's tokens
  std::optional<Token> a = {}, b = {};  // what the runs emitted there; none where one had ended
  Token best = 0, second = 0;           // of the target's single-row forward, after penalties and bias
  double margin = 0;                    // between their logits
  double noise = 0;                     // eps: a margin below it is a tie
  bool is_tie = false;                  // a and b are the two best, and their margin is below the noise
};

// How coarse the target's arithmetic is: the size of its last place relative to a number.
struct Precision {
  double rounding = 1e-6;
  static Precision of(const std::string& dtype);  // "f32", "bf16", "float32", ...
};

// What stands before a position. Penalties tell the two parts apart.
struct TextBefore {
  TokenSpan prompt, answer;
};

// What the target's logits behind a text say: the two best tokens, their margin, and how far the row moves when it is read in forwards of several
// rows.
struct Margin {
  Token best, second;
  double margin, noise;
};
Margin measure_margin(const LanguageModel& target, const TextBefore& text, const Sampler& sampler, const Precision& precision);

// A position of a greedy answer whose two best logits the target's arithmetic cannot tell apart: decoded in forwards of other sizes, the other token
// may come out.
struct NearTie {
  int position;  // of the answer's tokens
  Token best, second;
  double margin, noise;
};
// By one reading of the whole text. The noise is one rounding of the logit: nearer than that two runs often differ, up to several times that they may,
// which judge() decides for a difference that was seen.
std::vector<NearTie> near_ties(const LanguageModel& target, const TextBefore& text, const Sampler& sampler, const Precision& precision);

// Fills in best, second, margin, noise and is_tie.
void judge(const LanguageModel& target, const TextBefore& text, const Sampler& sampler, const Precision& precision, Divergence& divergence);

}  // namespace foretell
