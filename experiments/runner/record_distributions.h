// `foretell run --record probs`: the target's distributions along what a cell has generated.
//
// Contract: of the method's answers, first repeats only, after the cell has run: the target reads prompt and answer
// once more, 256 tokens a forward, off the clock. So nothing that is reported changes, batches need no care, and a
// greedy run, which computes no distribution, pays for them here and nowhere else: about one more prefill of all texts.
// The distributions are those of the run up to the rounding of forwards of another shape. The emitted tokens must have
// the target's distribution, so the verifier must be lossless; penalties and bias cannot be replayed. Costs of rows are
// measured for the recording if no policy has asked for them.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/distribution_record.h"
#include "experiments/results/record.h"

namespace foretell::runner {

struct DistributionRecording {
  int top_k = 64;
};

// From --record and --record-top-k; none without the first. An Error for what cannot be recorded.
std::optional<DistributionRecording> distribution_recording(const std::optional<std::string>& what,
                                                            const std::optional<int>& top_k);

// An Error if a cell cannot be recorded; before anything has run.
void check_recordable(const study::Study& study);

// Measures what the cost of rows is, unless it is known.
void measure_costs(const study::Cell& cell, cell::CellSetup& setup, cell::ModelPool& pool);

// Writes probs.bin into the folder. Ctrl-C ends it without a file. on_answer() is called after each answer. Returns a
// sentence about what was recorded.
std::string record_distributions(const DistributionRecording& options, const study::Cell& cell,
                                 const cell::CellSetup& setup, std::span<const results::GenerationRecord> records,
                                 const std::filesystem::path& folder, const std::function<void()>& on_answer = {});
// How many answers it will read.
int answers_to_record(std::span<const results::GenerationRecord> records);

}  // namespace foretell::runner
