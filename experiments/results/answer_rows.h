// A cell's answers as FastChat's answer rows, so that Spec-Bench's own scripts can read them.
//
// Contract: one row a conversation: the method's first repeat. accept_lengths are the tokens that each round emitted,
// over all turns.
#pragma once

#include <span>
#include <vector>

#include "experiments/results/record.h"
#include "experiments/study/study.h"
#include "framework/datasets/prompts.h"

namespace foretell::results {

std::vector<datasets::AnswerRow> answer_rows(std::span<const GenerationRecord> records, const study::Cell& cell);

}  // namespace foretell::results
