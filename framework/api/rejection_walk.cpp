#include "framework/api/rejection_walk.h"

namespace foretell {
namespace {

// The target's law at a node: the shared one until a rejection makes a residual of our own.
struct TargetLaw {
  const Law* now;
  std::optional<Law> reduced = {};

  void subtract(const Law& q, double lenience) {
    Excess left = excess(*now, q, 1 / lenience);
    if (!left.law) return;  // p = q: only rounding leads to a rejection, and p stays
    reduced = std::move(left.law);
    now = &*reduced;
  }
};

}  // namespace

WalkVerifier::Decision RejectionWalk::decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const {
  TargetLaw p{&scores.law(at)};
  std::map<LawId, Law> reduced;  // laws drawn from without replacement, as they are by now
  std::vector<Proposal> room;
  for (const Proposal& proposal : order(draft.proposals(at), room, rng)) {
    if (accepts_outright(draft, at, proposal, scores)) return accept(proposal.node);
    const Token token = draft.node(proposal.node).token;
    const DraftLaw& drawn = draft.law(proposal.law);
    const auto found = reduced.find(proposal.law);
    const Law& q = found == reduced.end() ? drawn.q : found->second;
    const double mass = lenience_ * q[token];
    // A duplicate of a rejected token has p = 0 and fails, but its subtraction must still happen: the draw did.
    if (rng.bernoulli(mass > 0 ? (*p.now)[token] / mass : 0.0)) return accept(proposal.node);
    p.subtract(q, lenience_);
    if (drawn.kind == Draws::WithoutReplacement)
      if (auto rest = without(q, token)) reduced.insert_or_assign(proposal.law, std::move(*rest));
  }
  return end_with(p.now->draw(rng));
}

}  // namespace foretell
