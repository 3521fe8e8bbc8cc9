#include "framework/api/draft_tree.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell {

void DraftTree::no_such_node(NodeId node) const {
  contract_broken(fmt::format("node {} is asked for, the draft has nodes 0 to {}", node, size() - 1), __FILE__,
                  __LINE__);
}

void DraftTree::no_such_distribution(DistributionId distribution) const {
  contract_broken(fmt::format("distribution {} is asked for, the draft has {}", distribution, num_distributions()),
                  __FILE__, __LINE__);
}

std::optional<NodeId> DraftTree::child(NodeId parent, Token token) const {
  for (NodeId id = existing(parent) + 1; id < size(); ++id)  // children come after their parent
    if (nodes_[id].parent == parent && nodes_[id].token == token) return id;
  return std::nullopt;
}

NodeId DraftTree::add(NodeId parent, Token token) {
  FORETELL_CONTRACT(parent >= 0 && parent < size(), "a token is added below node {}, the draft has nodes 0 to {}",
                    parent, size() - 1);
  FORETELL_CONTRACT(token >= 0, "token {} is negative", token);
  if (const auto known = child(parent, token)) return *known;
  FORETELL_CONTRACT(size() <= kMostNodes, "a draft grew beyond {} nodes", kMostNodes);
  nodes_.push_back({token, parent});
  depth_.push_back(depth_[parent] + 1);
  max_depth_ = std::max(max_depth_, depth_.back());
  proposals_.emplace_back();
  return size() - 1;
}

DistributionId DraftTree::add_distribution(Distribution q, Draws kind) {
  FORETELL_CONTRACT(kind != Draws::PointMass || q.is_point_mass(),
                    "a chosen token needs a point mass, not a distribution over {}", counted(q.vocab(), "token"));
  FORETELL_CONTRACT(distributions_.empty() || distributions_.front().q.vocab() == q.vocab(),
                    "a distribution over {} beside one over {}", counted(q.vocab(), "token"),
                    distributions_.front().q.vocab());
  FORETELL_CONTRACT(num_distributions() < kMostNodes, "a draft has more than {} distributions", kMostNodes);
  distributions_.push_back({std::move(q), kind});
  return num_distributions() - 1;
}

NodeId DraftTree::propose(NodeId parent, Token token, DistributionId distribution) {
  FORETELL_CONTRACT(distribution >= 0 && distribution < num_distributions(),
                    "a token is proposed from distribution {}, the draft has {} (add_distribution() returns their ids)",
                    distribution, num_distributions());
  const Distribution& q = distributions_[distribution].q;
  FORETELL_CONTRACT(token >= 0 && token < q.vocab(), "token {} is outside the vocabulary of {} tokens", token,
                    q.vocab());
  FORETELL_CONTRACT(q[token] > 0, "token {} has probability {} under the distribution that it is said to come from",
                    token, q[token]);
  FORETELL_CONTRACT(num_proposals_ < kMostNodes, "a draft has more than {} proposals", kMostNodes);
  const NodeId node = add(parent, token);
  ++num_proposals_;
  if (!proposed(node)) ++drafted_;
  proposals_[parent].push_back({node, distribution});
  return node;
}

bool DraftTree::proposed(NodeId node) const {
  if (node == kAnchor) return false;
  const auto& siblings = proposals_[nodes_[existing(node)].parent];
  return std::any_of(siblings.begin(), siblings.end(), [&](const Proposal& p) { return p.node == node; });
}

std::vector<NodeId> DraftTree::nodes_to(NodeId node) const {
  std::vector<NodeId> out;
  for (existing(node); node != kAnchor; node = nodes_[node].parent) out.push_back(node);
  std::reverse(out.begin(), out.end());
  return out;
}

Tokens DraftTree::path(NodeId node) const {
  Tokens out;
  for (const NodeId id : nodes_to(node)) out.push_back(nodes_[id].token);
  return out;
}

bool DraftTree::all_point_masses() const {
  return std::all_of(distributions_.begin(), distributions_.end(),
                     [](const DraftDistribution& distribution) { return distribution.kind == Draws::PointMass; });
}

bool DraftTree::is_chain() const {
  for (NodeId id = 0; id < size(); ++id)
    if (nodes_[id].parent != std::max(id - 1, 0) || proposals_[id].size() > 1) return false;
  return true;
}

DraftTree DraftTree::pruned(std::span<const NodeId> kept) const {
  std::vector<bool> stays(nodes_.size(), false);
  stays[kAnchor] = true;
  for (NodeId node : kept)
    for (existing(node); !stays[node]; node = nodes_[node].parent) stays[node] = true;
  DraftTree out(nodes_[kAnchor].token);
  out.distributions_ = distributions_;
  std::vector<NodeId> place(nodes_.size(), kAnchor);
  for (NodeId node = 1; node < size(); ++node)
    if (stays[node]) place[node] = out.add(place[nodes_[node].parent], nodes_[node].token);
  for (NodeId node = 0; node < size(); ++node)
    for (const Proposal& proposal : proposals_[node])
      if (stays[proposal.node]) out.propose(place[node], nodes_[proposal.node].token, proposal.distribution);
  return out;
}

}  // namespace foretell
