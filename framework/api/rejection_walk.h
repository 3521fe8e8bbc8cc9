/// @file
/// What verifiers share that decide node by node, from the anchor down: at each node one of its proposals is taken, or
/// a token of the target's own ends the round. The walk, and the draw at a node without proposals (the bonus), stand
/// here once; and so does rejection over the proposals of a node, the rule that most of them follow.
///
/// The proposals are visited in order: token x drawn from q is accepted with probability min(1, p(x) / q(x)); after a
/// rejection p becomes norm(max(p - q, 0)), and for draws without replacement q loses x and is renormalised. If none is
/// accepted the next token is drawn from what is left of p. One formula: for one draw it is speculative sampling
/// (Leviathan et al. 2022, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318), for several draws recursive rejection
/// (Miao et al. 2023, arXiv 2305.09781; Chen et al. 2024, arXiv 2402.12374; with replacement: the copies of a drawn
/// token are all visited), for a deterministic token q is 1 there, and a greedy target's p is a point mass, so
/// temperature 0 is no second branch.
///
/// Contract: lossless as it stands. A derived class may accept proposals outright or weaken the test; then it is lossy
/// and registered so.
#pragma once

#include <map>
#include <vector>

#include "framework/api/verifier.h"

namespace foretell {

/// The base of verifiers that decide node by node.
class WalkVerifier : public Verifier {
 public:
  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const final;

 protected:
  /// Where the walk goes on, or the token that ends it.
  struct Decision {
    std::optional<NodeId> accepted;  ///< none: the walk ends
    Token next = 0;                  ///< counts if nothing was accepted
  };
  /// Goes on at `node`.
  static Decision accept(NodeId node) { return {node, 0}; }
  /// Ends the round with a token of the target.
  static Decision end_with(Token next) { return {std::nullopt, next}; }
  /// Goes on if the token is proposed, else ends with it.
  static Decision match(const DraftTree& draft, NodeId at, Token token);

 private:
  virtual Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const = 0;
};

/// The base of verifiers that test proposals one after the other.
class RejectionWalk : public WalkVerifier {
 protected:
  /// `lenience` in (0, 1]: the test divides by lenience * q; 1 is lossless.
  explicit RejectionWalk(double lenience = 1.0) : lenience_(lenience) {}

  /// The order in which the proposals of a node are visited; another one than theirs is put into `room`.
  virtual std::span<const Proposal> order(std::span<const Proposal> proposals, std::vector<Proposal>& /*room*/,
                                          Rng&) const {
    return proposals;
  }
  /// Whether a proposal is accepted before it is tested.
  virtual bool accepts_outright(const DraftTree& /*draft*/, NodeId /*at*/, const Proposal& /*proposal*/,
                                Scores& /*scores*/) const {
    return false;
  }

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const final;

  double lenience_;  // the test sees lenience * q in q's place; in (0, 1]
};

}  // namespace foretell
