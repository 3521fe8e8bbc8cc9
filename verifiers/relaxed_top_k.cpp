// Relaxed acceptance: a drafted token is accepted outright if it is among the target's k most probable ones and at most
// delta less probable than the best (TensorRT-LLM's relaxed acceptance for multi-token prediction, whose names the
// parameters have); elsewhere rejection decides.
#include <algorithm>
#include <cmath>

#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

struct RelaxedOptions {
  int top_k = 10;
  double delta = 0.6;
  void declare(Parameters& p) {
    p.add("relaxed_topk", top_k, "a token must be among so many most probable ones; 1 is exact at temperature 0",
          {.min = 1, .aliases = {"top_k"}});
    p.add("relaxed_delta", delta, "and at most this much less probable than the best",
          {.min = 0, .max = 1, .aliases = {"delta"}});
  }
};

// The distribution at the node; at temperature 0, where that is a point mass, softmax of the raw logits.
Distribution soft_distribution(Scores& scores, NodeId node) {
  const Distribution& distribution = scores.distribution(node);
  if (!distribution.is_point_mass()) return distribution;
  const auto logits = scores.logits(node);
  const double top = logits[scores.argmax(node)];
  std::vector<double> weights;
  weights.reserve(logits.size());
  for (const float logit : logits) weights.push_back(std::exp(logit - top));
  return Distribution::dense(std::move(weights));
}

class RelaxedTopK final : public RejectionWalk {
 public:
  using Options = RelaxedOptions;
  RelaxedTopK(const Options& options, const BuildContext&) : options_(options) {}

 private:
  bool accepts_outright(const DraftTree& draft, NodeId at, const Proposal& proposal, Scores& scores) const override {
    const Distribution p = soft_distribution(scores, at);
    const Token token = draft.node(proposal.node).token;
    if (p[token] < p[p.mode()] - options_.delta) return false;
    const std::vector<Token> best = p.top(options_.top_k);
    return std::find(best.begin(), best.end(), token) != best.end();
  }

  Options options_;
};

FORETELL_REGISTER(Verifier, RelaxedTopK, "relaxed_top_k",
                  {.summary = "accepts tokens among the target's k best and within delta of the best",
                   .lossless = false,
                   .needs_logits = true,
                   .also_known_as = {"relaxed acceptance"}});

}  // namespace
}  // namespace foretell::verifiers
