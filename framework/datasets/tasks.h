// Generated conversations with exact answers: six task families after Spec-Bench's (Xia et al. 2024, arXiv 2401.07851).
//
//   multi_turn      two turns of chat; the second refers to the first
//   translation     a sentence from one toy language into the other
//   summarization   a passage into its one-sentence gist
//   qa              a question over a passage
//   arithmetic      sums and products worked step by step
//   retrieval       a fact placed somewhere in a long context
//
// Contract: an example is a pure function of (family, settings, split, index): the same on every machine, independent
// of order. Train and held-out examples are disjoint by construction: a hash of an example's prompts says on which side
// it lies, so no held-out conversation can occur in training whatever the seeds. Answers are exact: a model that
// follows the task gives that text and no other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/parameters.h"

namespace foretell::datasets {

struct TaskTurn {
  std::string prompt;
  std::string answer;
};

struct TaskExample {
  std::string family;
  std::string id;  // "<family>-<split>-<index>"
  std::vector<TaskTurn> turns;
};

enum class TaskSplit { Train, Heldout };

// How hard the families are. Larger numbers give longer prompts.
struct TaskSettings {
  std::int64_t seed = 1;
  int questions = 3;
  int people = 4;
  int noise_sentences = 3;
  int facts = 3;
  int filler_sentences = 8;
  int clauses = 2;
  int largest_number = 999;
  void declare(Parameters& p);

  // These settings made easier: `difficulty` 0 is the easiest of every family that still has something to confuse, 1 is
  // this one.
  TaskSettings eased(double difficulty) const;
};

std::span<const std::string_view> task_families();

// Error (all families are listed) if there is no such family.
TaskExample make_task(std::string_view family, const TaskSettings& settings, TaskSplit split, std::uint64_t index);

// An answer counts as exact if it is the expected text but for blanks at its ends.
bool exact_match(std::string_view answer, std::string_view expected);

// The last number in a text, as it is written but without thousands' commas; empty if there is none. "so 1,250 apples."
// -> "1250".
std::string last_number(std::string_view text);

}  // namespace foretell::datasets
