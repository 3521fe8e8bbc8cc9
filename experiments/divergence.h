// Where two runs of one target say different things, and whether the target itself can tell the two tokens apart there.
//
// A round scores several rows at once, and a forward of several rows adds its numbers in another order than a forward of one: logits that are nearly
// equal may change places. Such a tie is no fault. So at the first token that differs the target reads the common text again, in single rows, and its two
// best logits are compared with the noise of the very same position: what its logits move when it is read together with others.
//
// Contract: greedy runs only. Turns behind a difference have other prompts and are not compared; they are counted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/base/types.h"
#include "framework/model/language_model.h"

namespace foretell {

struct Divergence {
  std::string conversation = {};
  int turn = 0, repeat = 0;
  int position = 0;                     // of the answer's tokens
  std::optional<Token> a = {}, b = {};  // what the runs emitted there; none where one had ended
  Token best = 0, second = 0;           // of the target's single-row forward
  double margin = 0;                    // between their logits
  double noise = 0;                     // eps: a margin below it is a tie
  bool is_tie = false;                  // a and b are the two best, and their margin is below the noise
};

// How coarse the target's arithmetic is: the size of its last place relative to a number.
struct Precision {
  double rounding = 1e-6;
  static Precision of(const std::string& dtype);  // "f32", "bf16", "float32", ...
};

// What the target's logits behind `text` say: the two best tokens, their margin, and how far the row moves when it is read in forwards of several rows.
struct Margin {
  Token best, second;
  double margin, noise;
};
Margin measure_margin(const LanguageModel& target, TokenSpan text, const Precision& precision);

// Fills in best, second, margin, noise and is_tie. `text`: the prompt and the tokens before the difference.
void judge(const LanguageModel& target, TokenSpan text, const Precision& precision, Divergence& divergence);

}  // namespace foretell
