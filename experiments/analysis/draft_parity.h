// Where a draft of another engine first differs from ours, on the same weights.
//
// Contract: the quantities are compared in the order in which they are computed: the target's states that the head
// reads (taps), the ids, positions and mask of the draft's forward, and its logits. Ours are computed from the dump's
// taps where it has them, so that logits differ for reasons of the head alone. Words say what the difference looks
// like: another layer's states, a shift of positions, a scaled row.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/analysis/draft_dump.h"
#include "framework/decoding/heads/draft_trace.h"
#include "framework/model/language_model.h"

namespace foretell::analysis {

struct ParityStep {
  std::string quantity;  // as the dump calls it
  bool given = false;    // whether the dump has it
  bool equal = true;
  double worst = 0;        // largest difference, in units of our largest value in that row
  std::string words = {};  // where it differs, and what it looks like
};

// `tolerance`: of taps and logits, in these units.
std::vector<ParityStep> compare_draft(const DraftDump& dump, const model::LanguageModel& target,
                                      const decoding::heads::DraftTracer& tracer, double tolerance);

// What a dump of our own holds.
DraftDump own_dump(TokenSpan text, const model::LanguageModel& target, const decoding::heads::DraftTracer& tracer,
                   int drafted);

}  // namespace foretell::analysis
