// Another program's answer rows, in the format of FastChat and Spec-Bench, as a study's folder of one cell.
//
// Contract: accept_lengths become rounds, new_tokens and wall_time an answer's length and time; with a baseline's rows
// there is a speed-up, by the same rule as for ours (all tokens over all time; Spec-Bench itself takes the mean of
// every question's speed). What such rows do not say (token ids, what was drafted, the times of phases) is null. Where
// decoding_steps do not divide accept_lengths into turns, a question's turns are one generation. An id that the
// questions do not have, a negative or absurd number, more than 16 million tokens, or a folder that holds a study
// already is an Error.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/results/record.h"
#include "framework/datasets/prompts.h"

namespace foretell::report {

struct SpecBenchImport {
  std::filesystem::path answers = {};
  std::optional<std::filesystem::path> questions = {}, baseline = {};
  std::filesystem::path out = {};
};

// What rows of the file `file` say; `questions` may be null. Pure.
std::vector<results::GenerationRecord> spec_bench_records(const std::vector<datasets::AnswerRow>& rows,
                                                          const std::string& file,
                                                          const std::vector<datasets::Prompt>* questions,
                                                          results::PipelineVariant arm);

// The name of the cell: the rows' model.
std::string import_spec_bench(const SpecBenchImport& options);

}  // namespace foretell::report
