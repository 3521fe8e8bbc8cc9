/// @file
/// One round's draft: what is scored (nodes) and what is verified (proposals).
///
/// Contract: node 0 is the anchor. Siblings have distinct tokens and parents come before children, so a bare anchor is
/// plain decoding and a chain is a tree of width one. A node may be proposed by several draws (with
/// replacement, several draft models) or by none: then it is scored only. The proposals of a node are verified in the
/// order in which they were added. Every proposal names the distribution that its token was really drawn from; a
/// verifier trusts this, so it must be true. All distributions have one vocabulary. Arguments that cannot be (a node,
/// distribution or token that does not exist, more than kMostNodes nodes, distributions or proposals) are a
/// ContractError at once: a strategy that never ends is stopped here.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "framework/core/types.h"
#include "framework/sampling/distribution.h"

namespace foretell {

/// An index into one draft's distributions.
using DistributionId = std::int32_t;

/// How the tokens that share a distribution came out of it.
enum class Draws {
  PointMass,           ///< deterministic, not drawn: n-grams, top-k. q is 1 at the token
  IndependentDraws,    ///< each drawn from q, with replacement
  WithoutReplacement,  ///< drawn one after another, each from q renormalised without the earlier ones
};

/// A token to be scored.
struct DraftNode {
  Token token;    ///< the token
  NodeId parent;  ///< of the anchor: itself
};

/// One draw: a node, and the distribution that its token was drawn from.
struct Proposal {
  NodeId node;                  ///< what was drawn
  DistributionId distribution;  ///< from what
};

/// A draft distribution and how tokens came out of it.
struct DraftDistribution {
  Distribution q;  ///< the true distribution
  Draws kind;      ///< how
};

/// A draft tree with its proposals.
class DraftTree {
 public:
  /// The most nodes, distributions and proposals that a draft may have.
  static constexpr int kMostNodes = 1 << 16;

  /// A draft without draft tokens: `anchor` is the last committed token.
  explicit DraftTree(Token anchor) : nodes_{{anchor, kAnchor}}, depth_{0}, proposals_(1) {}

  /// Adds a scored-only node, or finds the child that already has this token.
  NodeId add(NodeId parent, Token token);
  /// Adds a distribution; proposals name it by what is returned.
  DistributionId add_distribution(Distribution q, Draws kind);
  /// Records that `token` was drawn from `distribution` as a continuation of `parent`.
  NodeId propose(NodeId parent, Token token, DistributionId distribution);
  /// A deterministic draft token: a point mass.
  NodeId choose(NodeId parent, Token token, int vocab) {
    return propose(parent, token, add_distribution(Distribution::point_mass(vocab, token), Draws::PointMass));
  }

  /// Rows to score, the anchor included.
  int size() const { return static_cast<int>(nodes_.size()); }
  /// Nodes that at least one proposal names.
  int drafted() const { return drafted_; }
  /// The length of the longest path below the anchor.
  int depth() const { return max_depth_; }
  /// The distance of a node from the anchor.
  int depth(NodeId node) const { return depth_[existing(node)]; }
  /// All nodes; parents come before children.
  std::span<const DraftNode> nodes() const { return nodes_; }
  /// One node.
  const DraftNode& node(NodeId id) const { return nodes_[existing(id)]; }
  /// The child with that token; none if there is none.
  std::optional<NodeId> child(NodeId parent, Token token) const;
  /// The proposals of the children of `parent`, in the order in which they are verified.
  std::span<const Proposal> proposals(NodeId parent) const { return proposals_[existing(parent)]; }
  /// Whether any proposal names the node.
  bool proposed(NodeId node) const;
  /// A distribution by its id.
  const DraftDistribution& distribution(DistributionId id) const {
    if (id < 0 || id >= num_distributions()) [[unlikely]]
      no_such_distribution(id);
    return distributions_[id];
  }
  /// The number of distributions.
  int num_distributions() const { return static_cast<int>(distributions_.size()); }
  /// The tokens from the first drafted node down to `node`.
  Tokens path(NodeId node) const;
  /// The same as nodes.
  std::vector<NodeId> nodes_to(NodeId node) const;
  /// Whether no node has two children.
  bool is_chain() const;
  /// How many of its tokens the drafter expects to be accepted, if it says so: what selectors between drafters compare.
  std::optional<double> expectation() const { return expectation_; }
  /// See expectation().
  void expect(double accepted) { expectation_ = accepted; }
  /// Whether every proposal is a deterministic token: only then may what becomes of the draft depend on its tokens.
  bool all_point_masses() const;
  /// The tree of the nodes in `kept` and their ancestors, with their proposals, in the same order.
  DraftTree pruned(std::span<const NodeId> kept) const;

 private:
  NodeId existing(NodeId node) const {
    if (node < 0 || node >= size()) [[unlikely]]
      no_such_node(node);
    return node;
  }
  [[noreturn]] void no_such_node(NodeId node) const;
  [[noreturn]] void no_such_distribution(DistributionId distribution) const;

  std::vector<DraftNode> nodes_;
  std::vector<int> depth_;
  std::vector<std::vector<Proposal>> proposals_;  // by parent
  std::vector<DraftDistribution> distributions_;
  int drafted_ = 0;
  int num_proposals_ = 0;
  int max_depth_ = 0;
  std::optional<double> expectation_;
};

/// What a verifier decides: the accepted path from the anchor down, then one token of the target's own.
enum class NextKind {
  Correction,  ///< after a rejection, or where the draft proposed nothing that was accepted
  Bonus,       ///< after full acceptance of a path to a node without proposals
};

/// The outcome of verification.
struct Verdict {
  std::vector<NodeId> accepted = {};  ///< the path from the anchor down, the anchor excluded
  Token next = 0;                     ///< the target's own token behind it
  NextKind kind = NextKind::Bonus;    ///< why the path ends there
};

}  // namespace foretell
