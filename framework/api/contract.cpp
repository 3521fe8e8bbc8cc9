#include "framework/api/contract.h"

#include <set>
#include <utility>

#include "framework/core/at_work.h"
#include "framework/core/error.h"
#include "framework/core/plugin_call.h"
#include "framework/core/text.h"

namespace foretell {
namespace {

void check_number(const char* name, int value, int most) {
  FORETELL_CONTRACT(value >= 0 && value <= most, "limits().{} is {}, expected 0 to {}", name, value, most);
}

// Which of form()'s flags a kind of proposal needs.
bool allows(const DraftForm& form, Draws kind) {
  switch (kind) {
    case Draws::PointMass: return form.point_mass;
    case Draws::IndependentDraws: return form.independent;
    case Draws::WithoutReplacement: return form.without_replacement;
  }
  return false;
}

const char* name_of(Draws kind) {
  switch (kind) {
    case Draws::PointMass: return "point_mass";
    case Draws::IndependentDraws: return "independent";
    case Draws::WithoutReplacement: return "without_replacement";
  }
  return "no";
}

}  // namespace

void check_limits(const DraftBudget& limits) {
  check_number("nodes", limits.nodes, DraftTree::kMostNodes);
  check_number("depth", limits.depth, DraftTree::kMostNodes);
  check_number("width", limits.width, DraftTree::kMostNodes);
}

void check_budget(const DraftBudget& budget) {
  FORETELL_CONTRACT(budget.nodes >= 0 && budget.depth >= 0 && budget.width >= 0,
                    "plan() gave a budget of {}, depth {}, width {}: none can be negative",
                    counted(budget.nodes, "node"), budget.depth, budget.width);
}

void check_drafts(std::span<const DraftTree> drafts, std::span<const DraftContext> batch) {
  FORETELL_CONTRACT(drafts.size() == batch.size(), "draft() returned {} for {}", counted(drafts.size(), "draft"),
                    counted(batch.size(), "sequence"));
  for (std::size_t i = 0; i < batch.size(); ++i) check_draft(drafts[i], batch[i]);
}

void check_draft(const DraftTree& draft, const DraftContext& context) {
  FORETELL_CONTRACT(draft.node(kAnchor).token == context.committed.back(),
                    "the draft starts at token {}, the last committed token is {}", draft.node(kAnchor).token,
                    context.committed.back());
  FORETELL_CONTRACT(draft.size() - 1 <= context.budget.nodes, "the draft has {}, the budget is {}",
                    counted(draft.size() - 1, "node"), context.budget.nodes);
  FORETELL_CONTRACT(draft.depth() <= context.budget.depth, "the draft is {} deep, the budget is {}",
                    counted(draft.depth(), "token"), context.budget.depth);
  for (const DraftNode& node : draft.nodes())
    FORETELL_CONTRACT(node.token < context.vocab, "token {} is outside the vocabulary of {} tokens", node.token,
                      context.vocab);
  if (draft.num_distributions() > 0)  // the others have the same
    FORETELL_CONTRACT(draft.distribution(0).q.vocab() == context.vocab,
                      "a token is proposed from a distribution over {}, the vocabulary has {}",
                      counted(draft.distribution(0).q.vocab(), "token"), context.vocab);
}

void check_form(const DraftTree& draft, const DraftForm& form) {
  std::set<std::pair<DistributionId, NodeId>> drawn;
  for (NodeId parent = 0; parent < draft.size(); ++parent) {
    const auto proposals = draft.proposals(parent);
    FORETELL_CONTRACT(form.tree || proposals.size() <= 1,
                      "{} are proposed at one node, form() says that drafts are chains",
                      counted(proposals.size(), "token"));
    for (const Proposal& proposal : proposals) {
      const Draws kind = draft.distribution(proposal.distribution).kind;
      FORETELL_CONTRACT(allows(form, kind), "a token is proposed as Draws of the kind {}, which form() denies",
                        name_of(kind));
      FORETELL_CONTRACT(kind != Draws::WithoutReplacement || drawn.emplace(proposal.distribution, proposal.node).second,
                        "token {} is proposed twice from one distribution, as draws without replacement",
                        draft.node(proposal.node).token);
    }
  }
}

void check_sums(const DraftTree& draft) {
  for (DistributionId id = 0; id < draft.num_distributions(); ++id) {
    const double sum = draft.distribution(id).q.given_sum();
    FORETELL_CONTRACT(sum >= 1 - kSumTolerance && sum <= 1 + kSumTolerance,
                      "the probabilities of a proposal's distribution sum to {:.6g}, expected 1 within {}", sum,
                      kSumTolerance);
  }
}

void check_entries(const DraftTree& draft) {
  for (DistributionId id = 0; id < draft.num_distributions(); ++id) {
    const auto bad = draft.distribution(id).q.bad_entry();
    FORETELL_CONTRACT(!bad, "a proposal's distribution is none: {}", *bad);
  }
}

void check_verdict(const DraftTree& draft, const Verdict& verdict, int vocab) {
  NodeId at = kAnchor;
  for (const NodeId node : verdict.accepted) {
    FORETELL_CONTRACT(node > 0 && node < draft.size(), "node {} is accepted, the draft has nodes 1 to {}", node,
                      draft.size() - 1);
    FORETELL_CONTRACT(draft.node(node).parent == at, "node {} is accepted after node {}, which is not its parent", node,
                      at);
    FORETELL_CONTRACT(draft.proposed(node), "node {} is accepted, which no proposal names: it was to be scored only",
                      node);
    at = node;
  }
  FORETELL_CONTRACT(verdict.next >= 0 && verdict.next < vocab, "the next token is {}, the vocabulary has {} tokens",
                    verdict.next, vocab);
}

void check_widths(const Frontier& frontier, std::span<const int> widths) {
  FORETELL_CONTRACT(widths.size() == frontier.nodes.size(), "expand() returned {} for {}",
                    counted(widths.size(), "width"), counted(frontier.nodes.size(), "node"));
  for (const int width : widths) FORETELL_CONTRACT(width >= 0, "expand() returned the width {}", width);
}

void check_selection(const DraftTree& draft, std::span<const NodeId> kept, int nodes) {
  std::set<NodeId> all;
  for (NodeId node : kept)
    for (; node != kAnchor && all.insert(node).second; node = draft.node(node).parent)
      draft.node(node);  // throws if there is none
  FORETELL_CONTRACT(static_cast<int>(all.size()) <= nodes, "select() kept {} with their ancestors, {} are allowed",
                    counted(all.size(), "node"), nodes);
}

void blame(const Strategy& strategy, const ContractError& error) {
  const bool plugin = strategy.from_plugin();
  const std::string message = fmt::format("{} broke its contract{}: {}", strategy.label(), AtWork::where(),
                                          plugin ? error.rule().c_str() : error.what());
  if (plugin) throw PluginError(message);
  throw InternalError(message);
}

}  // namespace foretell
