#include "experiments/certify/controls.h"

#include <map>

#include "framework/api/rejection_walk.h"

namespace foretell::certify {
namespace {

// Chains, trees and chosen tokens alike: min(1, 1.1 p/q).
class AcceptsTooOften final : public RejectionWalk {
 public:
  AcceptsTooOften() : RejectionWalk(1 / 1.1) {}
};

// The right test; the correction is drawn from p in place of norm(max(p - q, 0)).
class CorrectsFromTarget final : public WalkVerifier {
 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const Distribution& p = scores.distribution(at);
    const Proposal& first = draft.proposals(at).front();
    const Token token = draft.node(first.node).token;
    return rng.bernoulli(p[token] / draft.distribution(first.distribution).q[token]) ? accept(first.node)
                                                                                     : end_with(p.draw(rng));
  }
};

// Tests every sibling against p in place of what the rejection of those before has left of it.
class ForgetsRejections final : public WalkVerifier {
 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const Distribution& p = scores.distribution(at);
    Distribution left = p;
    std::map<DistributionId, Distribution> drawn;  // distributions drawn from without replacement, as they are by now
    for (const Proposal& proposal : draft.proposals(at)) {
      const Token token = draft.node(proposal.node).token;
      const DraftDistribution& distribution = draft.distribution(proposal.distribution);
      const auto found = drawn.find(proposal.distribution);
      const Distribution& q = found == drawn.end() ? distribution.q : found->second;
      if (q[token] > 0 && rng.bernoulli(p[token] / q[token])) return accept(proposal.node);
      left = residual(left, q);
      if (distribution.kind != Draws::WithoutReplacement) continue;
      if (auto rest = without(q, token)) drawn.insert_or_assign(proposal.distribution, std::move(*rest));
    }
    return end_with(left.draw(rng));
  }
};

// At temperature 0 one of the three best tokens passes for the target's.
class AcceptsThreeBest final : public RejectionWalk {
 private:
  bool accepts_outright(const DraftTree& draft, NodeId at, const Proposal& proposal, Scores& scores) const override {
    const auto logits = scores.logits(at);
    const float drafted = logits[static_cast<std::size_t>(draft.node(proposal.node).token)];
    int better = 0;
    for (const float logit : logits) better += logit > drafted;
    return better <= 2;
  }
};

template <class Biased>
std::unique_ptr<Verifier> make() {
  return std::make_unique<Biased>();
}

}  // namespace

const std::vector<Control>& controls() {
  static const std::vector<Control> all = {
      {"accepts a tenth too often", make<AcceptsTooOften>},
      {"draws corrections from p", make<CorrectsFromTarget>},
      {"tests siblings against the whole of p", make<ForgetsRejections>, false, true},
      {"accepts one of the three best tokens", make<AcceptsThreeBest>, true},
  };
  return all;
}

}  // namespace foretell::certify
