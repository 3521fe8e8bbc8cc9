#include "framework/api/rejection_walk.h"

namespace foretell {
namespace {

// The target's distribution at a node: the shared one until a rejection makes a residual of our own.
struct TargetDistribution {
  const Distribution* now;
  std::optional<Distribution> reduced = {};

  void subtract(const Distribution& q, double lenience) {
    Excess left = excess(*now, q, 1 / lenience);
    if (!left.distribution) return;  // p = q: only rounding leads to a rejection, and p stays
    reduced = std::move(left.distribution);
    now = &*reduced;
  }
};

}  // namespace

WalkVerifier::Decision RejectionWalk::decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const {
  TargetDistribution p{&scores.distribution(at)};
  std::map<DistributionId, Distribution> reduced;  // distributions drawn from without replacement, as they are by now
  std::vector<Proposal> room;
  for (const Proposal& proposal : order(draft.proposals(at), room, rng)) {
    if (accepts_outright(draft, at, proposal, scores)) return accept(proposal.node);
    const Token token = draft.node(proposal.node).token;
    const DraftDistribution& drawn = draft.distribution(proposal.distribution);
    const auto found = reduced.find(proposal.distribution);
    const Distribution& q = found == reduced.end() ? drawn.q : found->second;
    const double mass = lenience_ * q[token];
    // A duplicate of a rejected token has p = 0 and fails, but its subtraction must still happen: the draw did.
    if (rng.bernoulli(mass > 0 ? (*p.now)[token] / mass : 0.0)) return accept(proposal.node);
    p.subtract(q, lenience_);
    if (drawn.kind == Draws::WithoutReplacement)
      if (auto rest = without(q, token)) reduced.insert_or_assign(proposal.distribution, std::move(*rest));
  }
  return end_with(p.now->draw(rng));
}

}  // namespace foretell
