// Scores that come from rows of logits, whatever holds the rows.
//
// Contract: a derived class hands out raw rows and their raw argmax; this class adjusts (penalties, bias, by the node's
// own path), warps and remembers. At temperature 0 without adjustments nothing but the raw argmax is ever asked for.
#pragma once

#include <optional>
#include <vector>

#include "framework/api/draft_tree.h"
#include "framework/api/scores.h"
#include "framework/sampling/sampling.h"

namespace foretell::decoding {

class WarpedScores : public Scores {
 public:
  // `context` holds what was committed; the path is filled in here, by node. All three must outlive the round.
  WarpedScores(const DraftTree& draft, const Sampler& sampler, const SamplingContext& context)
      : draft_(draft), sampler_(sampler), context_(context), distributions_(draft.size()) {}

  Token argmax(NodeId node) final;
  const Distribution& distribution(NodeId node) final;
  std::span<const float> logits(NodeId node) final { return raw_row(existing(node)); }

 protected:
  virtual int vocab() const = 0;
  virtual std::span<const float> raw_row(NodeId node) = 0;
  virtual Token raw_argmax(NodeId node) = 0;

 private:
  std::vector<float> adjusted(NodeId node);
  // A verifier of a plug-in may ask for anything.
  NodeId existing(NodeId node) const {
    draft_.node(node);
    return node;
  }

  const DraftTree& draft_;
  const Sampler& sampler_;
  SamplingContext context_;
  std::vector<std::optional<Distribution>> distributions_;
};

}  // namespace foretell::decoding
