#include "framework/training/batches.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::training {
namespace {

constexpr std::int64_t kMostSkipped = 10000;

std::int64_t rows_of(const Sample& sample) {
  return static_cast<std::int64_t>(sample.tokens.size()) - 1;
}  // the last token is only predicted

// Whether a sample of `rows` may be padded to `length`: a few rows more cost less than another call of the attention.
bool joins(std::int64_t rows, std::int64_t length) { return length - rows <= std::max<std::int64_t>(4, length / 32); }

struct Columns {
  std::vector<std::int64_t> tokens, positions, loss_rows, targets;
  std::vector<float> weights;

  void add(const Sample& sample, std::int64_t length) {
    const auto first = static_cast<std::int64_t>(tokens.size());
    for (std::int64_t i = 0; i < length; ++i) {
      const bool padding = i >= rows_of(sample);
      tokens.push_back(padding ? 0 : sample.tokens[i]);
      positions.push_back(i);
      if (padding || sample.weights[i + 1] <= 0) continue;
      loss_rows.push_back(first + i);
      targets.push_back(sample.tokens[i + 1]);
      weights.push_back(sample.weights[i + 1]);
    }
  }
};

}  // namespace

std::vector<Sample> take_samples(const SampleSource& source, const TrainBatchSettings& batch, DataPosition& position) {
  std::vector<Sample> samples;
  std::int64_t rows = 0, skipped = 0;
  while (true) {
    Sample sample = source.sample(position.next_sample);
    if (rows_of(sample) > batch.length) {
      if (++skipped > kMostSkipped)
        fail("batch.length: {} samples in a row are longer than {} tokens", kMostSkipped, batch.length);
      ++position.skipped;
      ++position.next_sample;
      continue;
    }
    if (rows + rows_of(sample) > batch.tokens()) return samples;
    rows += rows_of(sample);
    position.tokens += rows_of(sample);
    position.loss_tokens +=
        std::count_if(sample.weights.begin(), sample.weights.end(), [](float weight) { return weight > 0; });
    ++position.next_sample;
    samples.push_back(std::move(sample));
  }
}

double total_weight(std::span<const Sample> samples) {
  double sum = 0;
  for (const Sample& sample : samples) sum = std::accumulate(sample.weights.begin() + 1, sample.weights.end(), sum);
  return sum;
}

autograd::TrainBatch make_batch(std::vector<Sample> samples, at::Device device) {
  std::stable_sort(samples.begin(), samples.end(),
                   [](const Sample& a, const Sample& b) { return rows_of(a) > rows_of(b); });
  autograd::TrainBatch batch;
  Columns columns;
  for (const Sample& sample : samples) {
    if (batch.groups.empty() || !joins(rows_of(sample), batch.groups.back().length))
      batch.groups.push_back({static_cast<std::int64_t>(columns.tokens.size()), 0, rows_of(sample)});
    ++batch.groups.back().sequences;
    columns.add(sample, batch.groups.back().length);
  }
  batch.tokens = at::tensor(columns.tokens, at::kLong).to(device);
  batch.positions = at::tensor(columns.positions, at::kLong).to(device);
  batch.loss_rows = at::tensor(columns.loss_rows, at::kLong).to(device);
  batch.targets = at::tensor(columns.targets, at::kLong).to(device);
  batch.weights = at::tensor(columns.weights, at::kFloat).to(device);
  batch.normaliser = total_weight(samples);
  return batch;
}

}  // namespace foretell::training
