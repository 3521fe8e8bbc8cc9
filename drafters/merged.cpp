// Several drafters whose drafts are laid over one another (Miao et al. 2023, arXiv 2305.09781, section 3: several small
// models, one token tree).
//
// Each member drafts for itself from the anchor; tokens that they share become one node, which is scored once. At a
// node the proposals are verified member by member, in the order of the list. A member's draws below a node are there
// only if that member drafted the node, which says nothing about the draws themselves, so every distribution stays the
// one that its token was drawn from.
#include <algorithm>

#include "framework/decoding/bases/composite_drafter.h"

namespace foretell::drafters {
namespace {

struct MergedOptions {
  ConfigValue drafters;
  void declare(Parameters& p) {
    p.add("drafters", drafters,
          "a list of two drafters or more: [{type: model, model: a}, {type: model, model: b}, {type: prompt_lookup}]",
          {.required = true});
  }
};

// Adds `from`'s nodes and proposals to `into`; both start at the same anchor.
void lay_over(const DraftTree& from, DraftTree& into) {
  std::vector<NodeId> place(static_cast<std::size_t>(from.size()), kAnchor);
  for (NodeId node = 1; node < from.size(); ++node)
    place[node] = into.add(place[from.node(node).parent], from.node(node).token);
  std::vector<DistributionId> distributions;
  distributions.reserve(static_cast<std::size_t>(from.num_distributions()));
  for (DistributionId id = 0; id < from.num_distributions(); ++id)
    distributions.push_back(into.add_distribution(from.distribution(id).q, from.distribution(id).kind));
  for (NodeId node = 0; node < from.size(); ++node)
    for (const Proposal& proposal : from.proposals(node))
      into.propose(place[node], from.node(proposal.node).token, distributions[proposal.distribution]);
}

class MergedDrafter final : public bases::CompositeDrafter {
 public:
  using Options = MergedOptions;
  MergedDrafter(const Options& options, const BuildContext& context)
      : bases::CompositeDrafter(options.drafters, "drafters", context) {}

  DraftBudget limits() const override {
    DraftBudget all{0, 0, 0};
    for (const auto& member : members()) {
      const DraftBudget own = member->limits();
      all = {all.nodes + own.nodes, std::max(all.depth, own.depth), all.width + own.width};
    }
    return all;
  }

  DraftForm form() const override {
    DraftForm all = member_forms();
    all.tree = all.several_distributions = true;
    return all;
  }

  // What a member may draft depends on the others' limits and not on what they drew.
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> merged;
    std::vector<int> room;
    for (const DraftContext& context : batch) {
      merged.emplace_back(context.committed.back());
      room.push_back(context.budget.nodes);
    }
    for (const auto& member : members()) {
      const DraftBudget limits = member->limits();
      std::vector<DraftContext> own(batch.begin(), batch.end());
      for (std::size_t i = 0; i < own.size(); ++i) {
        own[i].budget = within({room[i], batch[i].budget.depth, batch[i].budget.width}, limits);
        room[i] -= own[i].budget.nodes;
      }
      const std::vector<DraftTree> drafts = member->draft(own);
      for (std::size_t i = 0; i < drafts.size(); ++i) lay_over(drafts[i], merged[i]);
    }
    return merged;
  }
};

FORETELL_REGISTER(Drafter, MergedDrafter, "merged",
                  {.summary = "the drafts of several drafters in one tree",
                   .paper = {"Miao et al.", 2023, "2305.09781"},
                   .also_known_as = {"SpecInfer"}});

}  // namespace
}  // namespace foretell::drafters
