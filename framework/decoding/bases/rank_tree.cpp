#include "framework/decoding/bases/rank_tree.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "framework/core/error.h"
#include "framework/core/parameters.h"
#include "framework/core/text.h"

namespace foretell::bases {
namespace {

constexpr int kMostRanks = 1024;

RankTree read_parents(const ConfigValue& value) {
  RankTree tree;
  for (const ConfigValue& item : value.items()) {
    const std::int64_t parent = read_int(item, "parents");
    if (parent < 0 || parent > tree.nodes())
      fail_at(item.where(), "parents: node {} has the parent {}, expected 0 (the anchor) or an earlier node",
              tree.nodes() + 1, parent);
    tree.add(static_cast<int>(parent));
  }
  return tree;
}

struct PlacedPath {
  std::vector<int> ranks;
  Location where;
};

PlacedPath read_path(const ConfigValue& value) {
  PlacedPath path{{}, value.where()};
  if (!value.is_list() || value.items().empty()) fail_at(value.where(), "a path is a list of ranks, such as [0, 1]");
  for (const ConfigValue& item : value.items()) {
    const std::int64_t rank = read_int(item, "rank");
    if (rank < 0 || rank >= kMostRanks)
      fail_at(item.where(), "rank {} is out of range, expected 0 to {}", rank, kMostRanks - 1);
    path.ranks.push_back(static_cast<int>(rank));
  }
  if (path.ranks.size() > static_cast<std::size_t>(RankTree::kMostNodes))
    fail_at(value.where(), "a path of {} ranks", path.ranks.size());
  return path;
}

RankTree read_paths(const ConfigValue& value) {
  std::vector<PlacedPath> paths;
  for (const ConfigValue& item : value.items()) paths.push_back(read_path(item));
  std::stable_sort(paths.begin(), paths.end(), [](const PlacedPath& a, const PlacedPath& b) {
    return a.ranks.size() != b.ranks.size() ? a.ranks.size() < b.ranks.size() : a.ranks < b.ranks;
  });
  RankTree tree;
  std::map<std::vector<int>, int> nodes{{{}, 0}};
  for (const auto& [ranks, where] : paths) {
    const auto parent = nodes.find({ranks.begin(), ranks.end() - 1});
    if (nodes.count(ranks) > 0) fail_at(where, "the path [{}] is there twice", fmt::join(ranks, ", "));
    if (parent == nodes.end())
      fail_at(where, "the path [{}] begins with one that is not there", fmt::join(ranks, ", "));
    const auto due = static_cast<int>(tree.children(parent->second).size());
    if (ranks.back() != due)
      fail_at(where, "the path [{}] is there without its sibling of rank {}", fmt::join(ranks, ", "), due);
    nodes.emplace(ranks, tree.add(parent->second));
  }
  return tree;
}

}  // namespace

RankTree RankTree::read(const ConfigValue& value) {
  const ConfigValue* list = value.is_list() ? &value : nullptr;
  bool parents = false;
  for (const ConfigValue::Entry& entry : value.entries()) {
    if (entry.key != "paths" && entry.key != "parents")
      fail_at(entry.where, "unknown key '{}' in a tree; known: paths, parents", entry.key);
    if (list) fail_at(entry.where, "a tree has either paths or parents");
    list = &entry.value;
    parents = entry.key == "parents";
  }
  if (!list || !list->is_list() || list->items().empty())
    fail_at(value.where(),
            "a tree is a list of rank paths ([[0], [1], [0, 0]]), {{paths: ...}} or {{parents: [0, 0, 1]}}");
  if (list->items().size() > static_cast<std::size_t>(kMostNodes))
    fail_at(value.where(), "the tree has {}, at most {} are allowed", counted(list->items().size(), "node"),
            kMostNodes);
  return parents ? read_parents(*list) : read_paths(*list);
}

int RankTree::add(int parent) {
  const int node = static_cast<int>(children_.size());
  children_[static_cast<std::size_t>(parent)].push_back(node);
  children_.emplace_back();
  depth_.push_back(depth_[static_cast<std::size_t>(parent)] + 1);
  return node;
}

int RankTree::depth() const { return *std::max_element(depth_.begin(), depth_.end()); }

std::vector<int> RankTree::level_widths() const {
  std::vector<int> widths(static_cast<std::size_t>(depth()), 0);
  for (std::size_t node = 1; node < depth_.size(); ++node) ++widths[static_cast<std::size_t>(depth_[node]) - 1];
  return widths;
}

int RankTree::max_width() const {
  const std::vector<int> widths = level_widths();
  return widths.empty() ? 0 : *std::max_element(widths.begin(), widths.end());
}

std::vector<std::vector<int>> RankTree::paths() const {
  std::vector<std::vector<int>> paths(children_.size());
  for (std::size_t node = 0; node < children_.size(); ++node) {
    for (std::size_t rank = 0; rank < children_[node].size(); ++rank) {
      std::vector<int> path = paths[node];
      path.push_back(static_cast<int>(rank));
      paths[static_cast<std::size_t>(children_[node][rank])] = std::move(path);
    }
  }
  paths.erase(paths.begin());
  return paths;
}

std::string RankTree::to_yaml(const std::string& comment) const {
  std::string out = "# " + comment + "\npaths:\n";
  for (const auto& path : paths()) out += fmt::format("  - [{}]\n", fmt::join(path, ", "));
  return out;
}

std::vector<int> ShapedTree::expand(const Frontier& frontier) {
  std::vector<int> widths;
  for (const FrontierNode& at : frontier.nodes) {
    int shape_node = 0;
    NodeId parent = kAnchor;
    for (const NodeId node : frontier.draft.nodes_to(at.node)) {
      const auto proposals = frontier.draft.proposals(parent);
      const auto rank =
          std::find_if(proposals.begin(), proposals.end(), [&](const Proposal& p) { return p.node == node; }) -
          proposals.begin();
      shape_node = shape_.children(shape_node)[static_cast<std::size_t>(rank)];
      parent = node;
    }
    widths.push_back(static_cast<int>(shape_.children(shape_node).size()));
  }
  return widths;
}

}  // namespace foretell::bases
