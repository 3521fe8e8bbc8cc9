#include "framework/decode/draft_tree.h"

#include <algorithm>

#include "framework/base/error.h"

namespace foretell {

std::optional<NodeId> DraftTree::child(NodeId parent, Token token) const {
  for (NodeId id = parent + 1; id < size(); ++id)  // children come after their parent
    if (nodes_[id].parent == parent && nodes_[id].token == token) return id;
  return std::nullopt;
}

NodeId DraftTree::add(NodeId parent, Token token) {
  FORETELL_CHECK(parent >= 0 && parent < size(), "parent {} of {} nodes", parent, size());
  if (const auto existing = child(parent, token)) return *existing;
  nodes_.push_back({token, parent});
  depth_.push_back(depth_[parent] + 1);
  max_depth_ = std::max(max_depth_, depth_.back());
  proposals_.emplace_back();
  return size() - 1;
}

LawId DraftTree::add_law(Law q, Draws kind) {
  FORETELL_CHECK(kind != Draws::PointMass || q.is_point_mass(), "a chosen token needs a point mass, not {} tokens", q.vocab());
  laws_.push_back({std::move(q), kind});
  return num_laws() - 1;
}

NodeId DraftTree::propose(NodeId parent, Token token, LawId law) {
  FORETELL_CHECK(law >= 0 && law < num_laws(), "law {} of {}", law, num_laws());
  FORETELL_CHECK(laws_[law].q[token] > 0, "token {} has probability 0 under the law that it is said to come from", token);
  const NodeId node = add(parent, token);
  if (!proposed(node)) ++drafted_;
  proposals_[parent].push_back({node, law});
  return node;
}

bool DraftTree::proposed(NodeId node) const {
  if (node == kAnchor) return false;
  const auto& siblings = proposals_[nodes_[node].parent];
  return std::any_of(siblings.begin(), siblings.end(), [&](const Proposal& p) { return p.node == node; });
}

Tokens DraftTree::path(NodeId node) const {
  Tokens out;
  for (; node != kAnchor; node = nodes_[node].parent) out.push_back(nodes_[node].token);
  std::reverse(out.begin(), out.end());
  return out;
}

bool DraftTree::is_chain() const {
  for (NodeId id = 0; id < size(); ++id)
    if (nodes_[id].parent != std::max(id - 1, 0) || proposals_[id].size() > 1) return false;
  return true;
}

}  // namespace foretell
