// A place where two runs of one target say different things, as results and files hold it; divergence_search.h finds
// and judges them.
//
// Contract: pure values. Turns behind a difference have other prompts and are not compared; they are counted.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

#include "experiments/results/result_files.h"
#include "framework/core/types.h"

namespace foretell::analysis {

struct Divergence {
  std::string conversation = {}, task = {};
  int turn = 0, repeat = 0;
  int position = 0;                     // of the answer's tokens
  std::optional<Token> a = {}, b = {};  // what the runs emitted there; none where one had ended
  Token best = 0, second = 0;           // of the target's single-row forward
  double margin = 0;                    // between their logits
  double gap = 0;          // how far the worse of a and b lies below the best; the margin, where an answer had ended
  double noise = 0;        // eps: what lies within it of the best is not told apart from it
  bool is_tie = false;     // a and b both are within eps of the best
  std::string words = {};  // a line about it
};

// Two runs' answers side by side.
struct Divergences {
  int compared = 0, same = 0, behind = 0;  // answers; behind: their prompts differ because an earlier turn does
  bool whole = true;                       // false: the user interrupted, and the rest was not looked at
  std::string dtype = {};
  std::vector<Divergence> found = {};

  int ties() const;
  int faults() const { return static_cast<int>(found.size()) - ties(); }
  // "2 ties", "1 tie, 1 NOT EXPLAINED": of one task, or of all.
  std::string words(const std::optional<std::string>& task = {}) const;
};

// "2 ties", "1 tie, 1 NOT EXPLAINED".
std::string divergence_words(int ties, int faults);

// {"compared", "same", "behind", "ties", "faults", "dtype", "differences": [...]}: as `diff --json` prints it and a
// cell's divergence.json keeps it.
nlohmann::ordered_json to_json(const Divergences& divergences);
std::optional<Divergences> divergences_from(const std::optional<results::ResultJson>& file);  // what to_json() gave

}  // namespace foretell::analysis
