// What the interfaces of strategies demand, as checks.
//
// Contract: each throws a ContractError that names the rule and what was found. The loop holds every strategy to them,
// the guards of plug-ins (plugin_guards.h) do so wherever one of theirs is used. They cost a look at each node;
// check_entries() alone passes over the vocabulary.
#pragma once

#include <span>

#include "framework/api/draft_tree.h"
#include "framework/api/drafter.h"
#include "framework/api/policy.h"

namespace foretell {

// The most by which the probabilities of a distribution may miss 1 where a plug-in gives one: float32 sums over large
// vocabularies do not reach it.
constexpr double kSumTolerance = 1e-3;

// Budgets of a drafter's or a tree's limits(): 0 to DraftTree::kMostNodes, so that sums of a few stay integers.
void check_limits(const DraftBudget& limits);
// Of a policy's plan(): not negative. Whatever is too large is clipped.
void check_budget(const DraftBudget& budget);

// Anchor, budget, tokens and vocabularies of what draft() returned, one draft a context.
void check_drafts(std::span<const DraftTree> drafts, std::span<const DraftContext> batch);
void check_draft(const DraftTree& draft, const DraftContext& context);
// That no proposal is of a kind that form() denies, and draws without replacement repeat none.
void check_form(const DraftTree& draft, const DraftForm& form);
// That distributions were given as probabilities: their sum.
void check_sums(const DraftTree& draft);
// That no entry of a distribution is negative or of a token that does not exist.
void check_entries(const DraftTree& draft);

// Of the verdict on `draft`: a path of proposed nodes, then a token.
void check_verdict(const DraftTree& draft, const Verdict& verdict, int vocab);

// Of expand(): one width a frontier node, none negative. Of select(): nodes that exist, with their ancestors no more
// than `nodes`.
void check_widths(const Frontier& frontier, std::span<const int> widths);
void check_selection(const DraftTree& draft, std::span<const NodeId> kept, int nodes);

[[noreturn]] void blame(const Strategy& strategy, const ContractError& error);

// Runs f, whose broken rules are the strategy's: a PluginError if it is a plug-in's, else an internal error, with its
// name.
template <class F>
decltype(auto) held_to_contract(const Strategy& strategy, F&& f) {
  try {
    return f();
  } catch (const ContractError& error) {
    blame(strategy, error);
  }
}

}  // namespace foretell
