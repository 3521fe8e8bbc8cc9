// Trees that follow the most probable paths of each draft.
//
// Contract: path probabilities are those of the draft, at temperature 1 where it is greedy. A child's is never above
// its parent's, so the N most probable nodes hold all their ancestors; among equals the earlier node wins, which keeps
// that true.
#pragma once

#include <span>
#include <vector>

#include "framework/api/policy.h"

namespace foretell::bases {

// The `count` nodes with the most probable paths, the anchor left out, in the order of their ids.
std::vector<NodeId> most_probable_nodes(std::span<const double> path_probability, int count);

// How many children each node of a frontier gets, so that the `count` most probable children of all are drafted, those
// alone whose path is more probable than `least`. One child each where the draft has no distributions.
std::vector<int> widths_of_best(const Frontier& frontier, int count, double least);

struct BeamTreeOptions {
  int top_k = 10;
  int depth = 8;
  int total_tokens = 60;
  void declare(Parameters& p);
};

// The expansion of EAGLE-2 (Li et al. 2024, arXiv 2406.16858): on every level the top_k most probable nodes get top_k
// children each; of all that was drafted the total_tokens - 1 most probable nodes are scored, the anchor being the last
// one.
class BeamTree : public TreePolicy {
 public:
  explicit BeamTree(const BeamTreeOptions& options) : options_(options) {}
  DraftBudget limits() const final { return {options_.total_tokens - 1, options_.depth, options_.total_tokens - 1}; }
  bool wants_probs() const final { return true; }
  std::optional<int> beam() const final { return options_.top_k; }
  int grown_nodes() const final;
  std::vector<int> expand(const Frontier& frontier) final;
  std::vector<NodeId> select(const DraftTree& draft, std::span<const double> path_probability, int nodes) override;

 protected:
  // Whether the next level is drafted at all.
  virtual bool deepen(const Frontier&) { return true; }

 private:
  BeamTreeOptions options_;
};

}  // namespace foretell::bases
