// Tests the tokens at a node one after the other as if each had been chosen: x is accepted with probability p(x), else
// p loses x and is renormalised. The sampling mode of Lookahead decoding (Fu et al. 2024, arXiv 2402.02057) and of
// EAGLE-2's trees (Li et al. 2024, arXiv 2406.16858).
//
// Lossless for every draft, since it never looks at how tokens were drawn; in distribution the same as
// sample_then_match.
#include <algorithm>
#include <vector>

#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

class SequentialOneHot final : public WalkVerifier {
 public:
  using Options = NoOptions;
  SequentialOneHot(const Options&, const BuildContext&) {}

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const Distribution& p = scores.distribution(at);
    std::vector<NodeId> tried;
    double left = 1;  // what p has outside of the tokens that were tried
    for (const Proposal& proposal : draft.proposals(at)) {
      if (std::find(tried.begin(), tried.end(), proposal.node) != tried.end()) continue;
      const double mass = p[draft.node(proposal.node).token];
      if (rng.bernoulli(left > 0 ? mass / left : 0.0)) return accept(proposal.node);
      tried.push_back(proposal.node);
      left -= mass;
    }
    std::optional<Distribution> rest = p;
    for (const NodeId node : tried) {
      auto fewer = without(*rest, draft.node(node).token);
      if (fewer) rest = std::move(fewer);
    }
    return end_with(rest->draw(rng));
  }
};

FORETELL_REGISTER(
    Verifier, SequentialOneHot, "sequential_one_hot",
    {.summary = "tests a node's tokens in turn with probability p, renormalised without those that failed",
     .lossless = true,
     .acceptance = AcceptanceRule::Matching,
     .paper = {"Fu et al.", 2024, "2402.02057"}});

}  // namespace
}  // namespace foretell::verifiers
