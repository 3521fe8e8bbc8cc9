// Token-level rejection over chains and trees.
//
// Visits the proposals of a node in order: token x drawn from q is accepted with probability min(1, p(x) / q(x)); after a rejection p becomes
// norm(max(p - q, 0)), and for draws without replacement q loses x and is renormalised. If none is accepted the next token is drawn from what is
// left of p. One formula: for one draw it is speculative sampling (Leviathan et al. 2022, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318),
// for several draws recursive rejection (Miao et al. 2023, arXiv 2305.09781; with replacement: the copies of a drawn token are all visited), for a
// chosen token q is 1 there, and a greedy target's p is a point mass, so temperature 0 is no second branch.
#include <map>

#include "framework/decode/verifier.h"

namespace foretell {
namespace {

class RejectionVerifier final : public Verifier {
 public:
  using Options = NoOptions;
  RejectionVerifier(const Options&, const BuildContext&) {}

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    Verdict verdict;
    NodeId at = kAnchor;
    for (;;) {
      Target p{&scores.law(at), {}};
      const auto accepted = try_proposals(draft, at, p, rng);
      if (!accepted) {
        verdict.next = p.now->draw(rng);
        verdict.kind = draft.proposals(at).empty() ? NextKind::Bonus : NextKind::Correction;
        return verdict;
      }
      verdict.accepted.push_back(at = *accepted);
    }
  }

 private:
  // The target's law at a node: the shared one until a rejection makes a residual of our own.
  struct Target {
    const Law* now;
    std::optional<Law> reduced;
    void subtract(const Law& q) {
      reduced = residual(*now, q);
      now = &*reduced;
    }
  };

  // The first proposal that is accepted; else none, and p is left as the law of the correction.
  static std::optional<NodeId> try_proposals(const DraftTree& draft, NodeId at, Target& p, Rng& rng) {
    std::map<LawId, Law> reduced;  // laws drawn from without replacement, as they are by now
    for (const Proposal& proposal : draft.proposals(at)) {
      const Token token = draft.node(proposal.node).token;
      const DraftLaw& drawn = draft.law(proposal.law);
      const auto found = reduced.find(proposal.law);
      const Law& q = found == reduced.end() ? drawn.q : found->second;
      const double mass = q[token];
      // A duplicate of a rejected token has p = 0 and fails, but its subtraction must still happen: the draw did.
      if (rng.bernoulli(mass > 0 ? (*p.now)[token] / mass : 0.0)) return proposal.node;
      p.subtract(q);
      if (drawn.kind == Draws::WithoutReplacement)
        if (auto rest = without(q, token)) reduced.insert_or_assign(proposal.law, std::move(*rest));
    }
    return std::nullopt;
  }
};

FORETELL_REGISTER(Verifier, RejectionVerifier, "rejection",
                  {.summary = "accepts a drafted token with probability min(1, p/q), corrects from the residual", .lossless = true});

}  // namespace
}  // namespace foretell
