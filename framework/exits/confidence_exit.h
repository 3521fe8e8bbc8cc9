// What exit policies that look at one row at a time share: where they are asked, and statistics of a row of logits.
//
// Contract: includes no LibTorch. Statistics are those of softmax at temperature 1, in float64.
#pragma once

#include <span>
#include <vector>

#include "framework/api/exit_policy.h"
#include "framework/core/parameters.h"

namespace foretell::exits {

// `layers: [4, 8]`: where a policy is asked.
struct ExitLayers {
  std::vector<int> layers = {};  // empty: all
  Location where = {};
  void declare(Parameters& p);
  // An Error at `where` for a layer that a model of so many layers cannot be left at.
  std::vector<int> of(int num_layers) const;
};

struct LogitStatistics {
  double first = 0, second = 0;  // the two highest probabilities
  double entropy = 0;            // nats
  Token top = 0;
};
LogitStatistics logit_statistics(std::span<const float> logits);

// Of two vectors of one size; 0 if either has no length.
double cosine(std::span<const float> a, std::span<const float> b);

// A row leaves if `leaves` says so of what it looks at.
class RowExit : public ExitPolicy {
 public:
  explicit RowExit(ExitLayers layers) : layers_(std::move(layers)) {}
  std::vector<int> layers(int num_layers) const override { return layers_.of(num_layers); }
  void decide(const ExitProbe& probe, std::span<char> leaves) final {
    for (std::size_t i = 0; i < probe.rows.size(); ++i) leaves[i] = row_leaves(probe, i) ? 1 : 0;
  }

 protected:
  virtual bool row_leaves(const ExitProbe& probe, std::size_t index) = 0;

 private:
  ExitLayers layers_;
};

}  // namespace foretell::exits
