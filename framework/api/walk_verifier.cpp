#include "framework/api/rejection_walk.h"

namespace foretell {

Verdict WalkVerifier::verify(const DraftTree& draft, Scores& scores, Rng& rng) const {
  Verdict verdict;
  NodeId at = kAnchor;
  while (!draft.proposals(at).empty()) {
    const Decision decision = decide(draft, at, scores, rng);
    if (!decision.accepted) {
      verdict.next = decision.next;
      verdict.kind = NextKind::Correction;
      return verdict;
    }
    verdict.accepted.push_back(at = *decision.accepted);
  }
  verdict.next = scores.distribution(at).draw(rng);
  verdict.kind = NextKind::Bonus;
  return verdict;
}

WalkVerifier::Decision WalkVerifier::match(const DraftTree& draft, NodeId at, Token token) {
  const auto child = draft.child(at, token);
  return child && draft.proposed(*child) ? accept(*child) : end_with(token);
}

}  // namespace foretell
