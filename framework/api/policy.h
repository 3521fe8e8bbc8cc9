/// @file
/// How much is drafted, and in which shape.
///
/// Contract of DraftPolicy: plan() is called once a round for the whole batch; budgets arrive filled with the drafter's
/// limits and may be lowered or raised, never above what the loop then clips them to. should_continue() may stop a
/// draft after a drawn token; it can never drop one. observe() gets the records of that round in the order in which
/// plan() saw the batch. Contract of TreePolicy: holds no state of a sequence: what it decides depends on the draft
/// alone. expand() says how many children each frontier node gets. select() may look at tokens, so it is only ever
/// called on drafts whose proposals are all point masses; the framework checks it.
#pragma once

#include <span>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/api/round.h"
#include "framework/core/registry.h"

namespace foretell {

/// A sequence that is to be planned for.
struct PolicyView {
  SlotId slot;            ///< its place in the batch
  std::uint64_t request;  ///< its id: a slot with another one has a new sequence
  int committed;          ///< tokens
  int generated;          ///< of these, emitted so far
  int remaining;          ///< tokens that may still be emitted
  int batch;              ///< sequences in this round
};

/// Before a level is drafted: what the drafter knows about the next token there.
struct DraftStep {
  SlotId slot;  ///< its place in the batch
  int depth;    ///< of the nodes that would be added: 1 for the first
  const Distribution*
      distribution;  ///< the draft's distribution there if the policy wants distributions and the drafter has them
  double path_probability;  ///< of the most probable path drafted so far, under the same distributions; 1 without them
  double last_probability;  ///< of that path's last token, given those before it; 1 before the first and without
                            ///< distributions
  /// The draft model's final normed state behind that path, the input of its head: empty unless the policy wants it and
  /// the drafter has it.
  std::span<const float> hidden = {};
};

/// Decides how many tokens are drafted.
class DraftPolicy : public Strategy {
 public:
  /// Sets the budgets of a round, one for each sequence of `batch`.
  virtual void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) = 0;
  /// Whether another level is drafted.
  virtual bool should_continue(const DraftStep&) { return true; }
  /// A distribution costs a softmax over the vocabulary at temperature 0, so it is computed only where this says so.
  virtual bool wants_probs() const { return false; }
  /// Whether DraftStep::hidden is needed.
  virtual bool wants_hidden_states() const { return false; }
  /// The records of the round.
  virtual void observe(std::span<const RoundRecord>) {}
};

/// @cond
template <>
Registry<DraftPolicy>& Registry<DraftPolicy>::instance();
template <>
const char* Registry<DraftPolicy>::kind();
template <>
std::unique_ptr<DraftPolicy> Registry<DraftPolicy>::guard(const PluginStrategy& who,
                                                          std::unique_ptr<DraftPolicy> strategy);
/// @endcond

/// A node that may get children.
struct FrontierNode {
  NodeId node;                       ///< in the draft
  double path_probability;           ///< 1 if the policy does not want distributions
  const Distribution* distribution;  ///< of the tokens that would follow, if the policy wants distributions
};

/// The level of a draft that may grow.
struct Frontier {
  int depth;  ///< of the children that may be added
  /// Its nodes.
  std::span<const FrontierNode> nodes;
  int nodes_left;                            ///< of the budget
  const DraftTree& draft;                    ///< so far
  std::span<const double> path_probability;  ///< of its nodes; 1 if the policy does not want distributions
};

/// Decides the shape of a draft tree.
class TreePolicy : public Strategy {
 public:
  /// The most that this shape has: nodes besides the anchor, depth, nodes per depth.
  virtual DraftBudget limits() const = 0;
  /// As DraftPolicy::wants_probs().
  virtual bool wants_probs() const { return false; }
  /// How many nodes of a level are looked at further: those with the most probable paths. None: all. Which nodes get
  /// children may depend on their own tokens, since these are drawn before the children are.
  virtual std::optional<int> beam() const { return std::nullopt; }
  /// One width for each frontier node; 0 ends it. The drafter cuts the total at nodes_left.
  virtual std::vector<int> expand(const Frontier& frontier) = 0;
  /// Nodes that may be drafted where select() then chooses among them; at least limits().nodes.
  virtual int grown_nodes() const { return limits().nodes; }
  /// Which nodes of a finished point-mass draft are worth scoring: at most `nodes` besides the anchor, with their
  /// ancestors. Empty keeps all.
  virtual std::vector<NodeId> select(const DraftTree&, std::span<const double> /*path_probability, by node*/,
                                     int /*nodes*/) {
    return {};
  }
};

/// @cond
template <>
Registry<TreePolicy>& Registry<TreePolicy>::instance();
template <>
const char* Registry<TreePolicy>::kind();
template <>
std::unique_ptr<TreePolicy> Registry<TreePolicy>::guard(const PluginStrategy& who,
                                                        std::unique_ptr<TreePolicy> strategy);
/// @endcond

}  // namespace foretell
