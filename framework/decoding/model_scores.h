// Scores out of a model's rows of logits.
//
// Contract: as in warped_scores.h. `rows` maps the draft's nodes to rows of the forward, which may hold those of other
// sequences too.
#pragma once

#include <memory>
#include <vector>

#include "framework/decoding/host_logits.h"
#include "framework/decoding/warped_scores.h"

namespace foretell::decoding {

class ModelScores : public WarpedScores {
 public:
  ModelScores(const DraftTree& draft, const Sampler& sampler, const SamplingContext& context,
              std::shared_ptr<HostLogits> logits, std::vector<int> rows)
      : WarpedScores(draft, sampler, context), logits_(std::move(logits)), rows_(std::move(rows)) {}

 private:
  int vocab() const override { return logits_->vocab(); }
  std::span<const float> raw_row(NodeId node) override { return logits_->row(rows_[node]); }
  Token raw_argmax(NodeId node) override { return logits_->argmax(rows_[node]); }

  std::shared_ptr<HostLogits> logits_;
  std::vector<int> rows_;
};

}  // namespace foretell::decoding
