#include "framework/api/composite_drafter.h"

#include <algorithm>

#include "framework/core/error.h"

namespace foretell {

std::unique_ptr<Drafter> make_member(const ConfigValue& description, const BuildContext& context, MemberUse use) {
  const auto& registry = Registry<Drafter>::instance();
  std::unique_ptr<Drafter> member = registry.make(description, context);
  return context.on_member ? context.on_member(std::move(member), registry.type_of(description), use)
                           : std::move(member);
}

namespace {

std::vector<std::unique_ptr<Drafter>> build_members(const ConfigValue& list, const char* key,
                                                    const BuildContext& context) {
  if (!list.is_list() || list.items().size() < 2)
    fail_at(list.where(), "{}: expected a list of two drafters or more: [{{type: ...}}, {{type: ...}}]", key);
  std::vector<std::unique_ptr<Drafter>> members;
  for (const ConfigValue& item : list.items()) members.push_back(make_member(item, context));
  return members;
}

}  // namespace

CompositeDrafter::CompositeDrafter(const ConfigValue& list, const char* key, const BuildContext& context)
    : CompositeDrafter(build_members(list, key, context)) {}

CompositeDrafter::CompositeDrafter(std::vector<std::unique_ptr<Drafter>> members) : members_(std::move(members)) {
  for (const auto& member : members_) {
    const HiddenRequest wanted = member->wants();
    if (wanted.empty()) continue;
    if (!wants_.empty() && !(wants_ == wanted))
      fail(
          "two of the drafters that are to draft together want different hidden states of the target, which one draft "
          "cannot have");
    wants_ = wanted;
  }
}

bool CompositeDrafter::needs_logits() const {
  return std::any_of(members_.begin(), members_.end(), [](const auto& member) { return member->needs_logits(); });
}

bool CompositeDrafter::rewinds() const {
  return std::all_of(members_.begin(), members_.end(), [](const auto& member) { return member->rewinds(); });
}

void CompositeDrafter::check(const Request& request) const {
  for (const auto& member : members_) member->check(request);
}

void CompositeDrafter::begin(SlotId slot, const PromptView& prompt) {
  for (const auto& member : members_) member->begin(slot, prompt);
}

void CompositeDrafter::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  for (const auto& member : members_) member->observe_prompt(slot, chunk);
}

void CompositeDrafter::observe(std::span<const RoundView> rounds) {
  for (const auto& member : members_) member->observe(rounds);
}

void CompositeDrafter::end(SlotId slot) {
  for (const auto& member : members_) member->end(slot);
}

DraftForm CompositeDrafter::member_forms() const {
  DraftForm all;
  for (const auto& member : members_) {
    const DraftForm own = member->form();
    all.tree |= own.tree;
    all.point_mass |= own.point_mass;
    all.independent |= own.independent;
    all.without_replacement |= own.without_replacement;
    all.several_laws |= own.several_laws;
  }
  return all;
}

DraftBudget CompositeDrafter::within(const DraftBudget& budget, const DraftBudget& limits) {
  return {std::min(budget.nodes, limits.nodes), std::min(budget.depth, limits.depth),
          std::min(budget.width, limits.width)};
}

std::vector<DraftTree> CompositeDrafter::draft_in_turn(
    std::span<const DraftContext> batch, const std::function<bool(std::size_t, const DraftTree&)>& good) const {
  std::vector<DraftTree> drafts;
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    drafts.emplace_back(batch[i].committed.back());
    open.push_back(i);
  }
  for (std::size_t m = 0; m < members_.size() && !open.empty(); ++m) {
    std::vector<DraftContext> asked;
    for (const std::size_t i : open) {
      asked.push_back(batch[i]);
      asked.back().budget = within(batch[i].budget, members_[m]->limits());
    }
    std::vector<DraftTree> own = members_[m]->draft(asked);
    std::vector<std::size_t> still_open;
    for (std::size_t k = 0; k < own.size(); ++k) {
      if (own[k].size() > 1 && (!own[k].all_point_masses() || good(m, own[k])))
        drafts[open[k]] = std::move(own[k]);
      else
        still_open.push_back(open[k]);
    }
    open = std::move(still_open);
  }
  return drafts;
}

}  // namespace foretell
