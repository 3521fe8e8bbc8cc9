#include "framework/training/learners/masked_rows.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "framework/core/mix.h"
#include "framework/training/learner.h"

namespace foretell::training::learners {
namespace {

struct Copy {
  std::int64_t anchor, depth;  // the anchor counted from the sequence's first row
};

// The copies of one sequence of `length` rows, by depth; `lossy` says which of its rows have a loss.
std::vector<Copy> copies_of(std::span<const float> weights, const ConditionalDrop& drop, std::uint64_t seed) {
  const auto length = static_cast<std::int64_t>(weights.size());
  const auto lossy = [&](std::int64_t row) { return drop.all || weights[static_cast<std::size_t>(row)] > 0; };
  const std::int64_t seeds = drop.all ? length : std::ranges::count_if(weights, [](float w) { return w > 0; });
  std::vector<std::int64_t> anchors;
  for (std::int64_t a = 0; a < length; ++a) anchors.push_back(a);
  std::vector<Copy> all;
  for (std::int64_t depth = 1; depth < drop.depths; ++depth) {
    std::erase_if(anchors, [&](std::int64_t a) { return a + depth >= length || !lossy(a + depth); });
    const double share = std::max(std::pow(drop.keep, static_cast<double>(depth)), drop.least);
    const auto wanted = static_cast<std::int64_t>(static_cast<double>(seeds - depth) * share);
    const std::int64_t count = drop.all
                                   ? static_cast<std::int64_t>(anchors.size())
                                   : std::clamp<std::int64_t>(wanted, 0, static_cast<std::int64_t>(anchors.size()));
    const auto order = [&](std::int64_t a) {
      return mix64(seed ^ mix64(static_cast<std::uint64_t>(a * drop.depths + depth)));
    };
    std::ranges::sort(anchors, {}, order);
    anchors.resize(static_cast<std::size_t>(count));
    std::ranges::sort(anchors);
    for (const std::int64_t a : anchors) all.push_back({a, depth});
  }
  return all;
}

// Which rows of a sequence see which: the given ones as ever, a copy the rows up to its anchor and its own masks.
at::Tensor bias_of(std::int64_t length, const std::vector<Copy>& copies) {
  const std::int64_t rows = length + static_cast<std::int64_t>(copies.size());
  at::Tensor bias = at::full({rows, rows}, -std::numeric_limits<float>::infinity());
  float* values = bias.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < rows; ++row) {
    const bool given = row < length;
    const Copy own = given ? Copy{row, 0} : copies[static_cast<std::size_t>(row - length)];
    std::fill_n(values + row * rows, own.anchor + 1, 0.0F);
    for (std::int64_t other = length; !given && other <= row; ++other)
      if (copies[static_cast<std::size_t>(other - length)].anchor == own.anchor) values[row * rows + other] = 0;
  }
  return bias;
}

}  // namespace

std::uint64_t seed_of(const autograd::TrainBatch& batch) {
  const at::Tensor ids = batch.tokens.to(at::kCPU).contiguous();
  std::uint64_t seed = 0;
  for (const std::int64_t id : std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())))
    seed = mix64(seed ^ static_cast<std::uint64_t>(id));
  return seed;
}

MaskedBatch with_masks(const autograd::TrainBatch& batch, const ConditionalDrop& drop, Token mask) {
  const NextTokens next = next_tokens(batch);
  const at::Tensor host_weights = next.weight.to(at::kCPU).contiguous(), ids = batch.tokens.to(at::kCPU),
                   targets = next.token.to(at::kCPU);
  const std::span<const float> weights(host_weights.const_data_ptr<float>(),
                                       static_cast<std::size_t>(host_weights.numel()));
  const auto token = ids.accessor<std::int64_t, 1>(), target = targets.accessor<std::int64_t, 1>();
  const std::uint64_t seed = seed_of(batch);
  std::vector<std::int64_t> tokens, positions, anchors, depths, loss_rows, wanted, predicted;
  std::vector<float> loss_weights;
  MaskedBatch out;
  const auto add = [&](std::int64_t first, Copy copy) {
    const std::int64_t row = first + copy.anchor + copy.depth;
    if (weights[static_cast<std::size_t>(row)] > 0) {
      loss_rows.push_back(static_cast<std::int64_t>(tokens.size()));
      wanted.push_back(target[row]);
      loss_weights.push_back(weights[static_cast<std::size_t>(row)]);
      predicted.push_back(row);
    }
    tokens.push_back(copy.depth == 0 ? token[row] : mask);
    positions.push_back(copy.anchor + copy.depth);
    anchors.push_back(first + copy.anchor);
    depths.push_back(copy.depth);
  };
  for (const autograd::RowGroup& group : batch.groups)
    for (std::int64_t i = 0; i < group.sequences; ++i) {
      const std::int64_t first = group.first_row + i * group.length;
      const std::vector<Copy> copies =
          copies_of(weights.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(group.length)), drop,
                    mix64(seed ^ static_cast<std::uint64_t>(first)));
      const auto begin = static_cast<std::int64_t>(tokens.size());
      for (std::int64_t row = 0; row < group.length; ++row) add(first, {row, 0});
      for (const Copy& copy : copies) add(first, copy);
      out.rows.groups.push_back(
          {begin, 1, static_cast<std::int64_t>(tokens.size()) - begin, bias_of(group.length, copies)});
    }
  const at::Device device = batch.tokens.device();
  const auto indices = [&](const std::vector<std::int64_t>& of) { return at::tensor(of, at::kLong).to(device); };
  out.rows.tokens = indices(tokens);
  out.rows.positions = indices(positions);
  out.rows.loss_rows = indices(loss_rows);
  out.rows.targets = indices(wanted);
  out.rows.weights = at::tensor(loss_weights, at::kFloat).to(device);
  out.rows.normaliser = out.rows.weights.sum().item<double>();
  out.anchors = indices(anchors);
  out.depths = indices(depths);
  out.predicted = indices(predicted);
  return out;
}

}  // namespace foretell::training::learners
