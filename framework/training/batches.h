// Samples put together into batches.
//
// Contract: every sample is its own sequence: it starts at position 0 and sees nothing of its neighbours, as in
// generation. Samples are sorted by length and put into groups of nearly equal ones, padded to the longest of the
// group; a row of padding has no loss. No sample is cut: one that is longer than a row is left out and counted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/training/autograd/trainable.h"
#include "framework/training/samples.h"

namespace foretell::training {

// How far a run has come in its data; all that has to be kept to go on.
struct DataPosition {
  std::uint64_t next_sample = 0;
  std::int64_t skipped = 0;      // samples that were too long
  std::int64_t tokens = 0;       // that went through the model, padding left out
  std::int64_t loss_tokens = 0;  // of them with a loss
};

// Takes samples in order, as many as fit into `tokens` rows of the forward. At least one; an Error if thousands in a
// row are longer than `length`.
std::vector<Sample> take_samples(const SampleSource& source, const TrainBatchSettings& batch, DataPosition& position);

double total_weight(std::span<const Sample> samples);

autograd::TrainBatch make_batch(std::vector<Sample> samples, at::Device device);

}  // namespace foretell::training
