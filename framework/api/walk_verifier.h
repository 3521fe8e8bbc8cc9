/// @file
/// Verifiers that decide node by node, from the anchor down: at each node one of its proposals is taken, or a token of
/// the target's own ends the round.
///
/// Contract: a derived class decides at nodes that have proposals; the walk, and the draw at a node without any (the
/// bonus), stand here once.
#pragma once

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

}  // namespace foretell
