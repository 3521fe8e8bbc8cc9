// One round's draft: what is scored (nodes) and what is verified (proposals).
//
// Contract: node 0 is the anchor. Siblings have distinct tokens and parents come before children, so a bare anchor is
// autoregressive decoding and a chain is a tree of width one. A node may be proposed by several draws (with
// replacement, several draft models) or by none: then it is scored only. The proposals of a node are verified in the
// order in which they were added. Every proposal names the law that its token was really drawn from; a verifier trusts
// this, so it must be true. All laws have one vocabulary. Arguments that cannot be (a node, law or token that does not
// exist, more than kMostNodes nodes, laws or proposals) are a ContractError at once: a strategy that never ends is
// stopped here.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "framework/core/types.h"
#include "framework/sampling/law.h"

namespace foretell {

using LawId = std::int32_t;

// How the tokens that share a law came out of it.
enum class Draws {
  PointMass,           // chosen, not drawn: n-grams, top-k. q is 1 at the token
  IndependentDraws,    // each drawn from q, with replacement
  WithoutReplacement,  // drawn one after another, each from q renormalised without the earlier ones
};

struct DraftNode {
  Token token;
  NodeId parent;  // of the anchor: itself
};

struct Proposal {
  NodeId node;
  LawId law;
};

struct DraftLaw {
  Law q;
  Draws kind;
};

class DraftTree {
 public:
  static constexpr int kMostNodes = 1 << 16;

  explicit DraftTree(Token anchor) : nodes_{{anchor, kAnchor}}, depth_{0}, proposals_(1) {}

  // Adds a scored-only node, or finds the child that already has this token.
  NodeId add(NodeId parent, Token token);
  LawId add_law(Law q, Draws kind);
  // Records that `token` was drawn from `law` as a continuation of `parent`.
  NodeId propose(NodeId parent, Token token, LawId law);
  // A chosen token: a point mass.
  NodeId choose(NodeId parent, Token token, int vocab) {
    return propose(parent, token, add_law(Law::point_mass(vocab, token), Draws::PointMass));
  }

  int size() const { return static_cast<int>(nodes_.size()); }  // rows to score, the anchor included
  int drafted() const { return drafted_; }                      // nodes that at least one proposal names
  int depth() const { return max_depth_; }
  int depth(NodeId node) const { return depth_[existing(node)]; }
  std::span<const DraftNode> nodes() const { return nodes_; }
  const DraftNode& node(NodeId id) const { return nodes_[existing(id)]; }
  std::optional<NodeId> child(NodeId parent, Token token) const;
  std::span<const Proposal> proposals(NodeId parent) const { return proposals_[existing(parent)]; }
  bool proposed(NodeId node) const;
  const DraftLaw& law(LawId id) const {
    if (id < 0 || id >= num_laws()) [[unlikely]]
      no_such_law(id);
    return laws_[id];
  }
  int num_laws() const { return static_cast<int>(laws_.size()); }
  // The tokens from the first drafted node down to `node`.
  Tokens path(NodeId node) const;
  std::vector<NodeId> nodes_to(NodeId node) const;  // the same as nodes
  bool is_chain() const;
  // How many of its tokens the drafter expects to be accepted, if it says so: what selectors between drafters compare.
  std::optional<double> expectation() const { return expectation_; }
  void expect(double accepted) { expectation_ = accepted; }
  // Whether every proposal is a chosen token: only then may what becomes of the draft depend on its tokens.
  bool all_point_masses() const;
  // The tree of the nodes in `kept` and their ancestors, with their proposals, in the same order.
  DraftTree pruned(std::span<const NodeId> kept) const;

 private:
  NodeId existing(NodeId node) const {
    if (node < 0 || node >= size()) [[unlikely]]
      no_such_node(node);
    return node;
  }
  [[noreturn]] void no_such_node(NodeId node) const;
  [[noreturn]] void no_such_law(LawId law) const;

  std::vector<DraftNode> nodes_;
  std::vector<int> depth_;
  std::vector<std::vector<Proposal>> proposals_;  // by parent
  std::vector<DraftLaw> laws_;
  int drafted_ = 0;
  int num_proposals_ = 0;
  int max_depth_ = 0;
  std::optional<double> expectation_;
};

// What a verifier decides: the accepted path from the anchor down, then one token of the target's own.
enum class NextKind {
  Correction,  // after a rejection, or where the draft proposed nothing that was accepted
  Bonus,       // after full acceptance of a path to a node without proposals
};

struct Verdict {
  std::vector<NodeId> accepted = {};
  Token next = 0;
  NextKind kind = NextKind::Bonus;
};

}  // namespace foretell
