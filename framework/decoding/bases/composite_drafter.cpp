#include "framework/decoding/bases/composite_drafter.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/model/hidden.h"

namespace foretell::bases {

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

// Of states that were asked for as `all`, those that one member wants.
model::HiddenStates own_states(const model::HiddenStates& states, const HiddenStateRequest& all,
                               const HiddenStateRequest& wanted) {
  model::HiddenStates own;
  for (const int aux_layer : wanted.aux_states) {
    const auto place = std::find(all.aux_states.begin(), all.aux_states.end(), aux_layer) - all.aux_states.begin();
    own.aux_states.push_back(states.aux_states.at(static_cast<std::size_t>(place)));
  }
  if (wanted.final_state) own.final_state = states.final_state;
  return own;
}

// A round's scores with the hidden states that one member asked for.
class OwnScores final : public Scores {
 public:
  OwnScores(Scores& scores, const HiddenStateRequest& all, const HiddenStateRequest& wanted) : scores_(scores) {
    if (const model::HiddenStates* states = wanted.empty() ? nullptr : scores.hidden())
      hidden_ = own_states(*states, all, wanted);
  }
  Token argmax(NodeId node) override { return scores_.argmax(node); }
  const Distribution& distribution(NodeId node) override { return scores_.distribution(node); }
  std::span<const float> logits(NodeId node) override { return scores_.logits(node); }
  const model::HiddenStates* hidden() const override { return hidden_ ? &*hidden_ : nullptr; }

 private:
  Scores& scores_;
  std::optional<model::HiddenStates> hidden_;
};

}  // namespace

CompositeDrafter::CompositeDrafter(const ConfigValue& list, const char* key, const BuildContext& context)
    : CompositeDrafter(build_members(list, key, context)) {}

CompositeDrafter::CompositeDrafter(std::vector<std::unique_ptr<Drafter>> members) : members_(std::move(members)) {
  for (const auto& member : members_) {
    wanted_.push_back(member->required_hidden_states());
    wants_.final_state |= wanted_.back().final_state;
    for (const int aux_layer : wanted_.back().aux_states)
      if (std::find(wants_.aux_states.begin(), wants_.aux_states.end(), aux_layer) == wants_.aux_states.end())
        wants_.aux_states.push_back(aux_layer);
  }
}

DrafterTraits CompositeDrafter::traits() const {
  DrafterTraits out{.rewinds = true};
  for (const auto& member : members_) {
    const DrafterTraits own = member->traits();
    out.needs_logits |= own.needs_logits;
    out.rewinds &= own.rewinds;
  }
  return out;
}

void CompositeDrafter::check(const Request& request) const {
  for (const auto& member : members_) member->check(request);
}

void CompositeDrafter::begin(SlotId slot, const PromptView& prompt) {
  for (const auto& member : members_) member->begin(slot, prompt);
}

void CompositeDrafter::observe_prompt(SlotId slot, const PromptChunk& chunk) {
  for (std::size_t m = 0; m < members_.size(); ++m) {
    PromptChunk own = chunk;
    model::HiddenStates states;
    if (wanted_[m].empty()) {
      own.hidden = nullptr;
    } else if (chunk.hidden && wanted_[m] != wants_) {
      states = own_states(*chunk.hidden, wants_, wanted_[m]);
      own.hidden = &states;
    }
    members_[m]->observe_prompt(slot, own);
  }
}

void CompositeDrafter::observe(std::span<const RoundView> rounds) {
  for (std::size_t m = 0; m < members_.size(); ++m) {
    if (wanted_[m] == wants_) {
      members_[m]->observe(rounds);
      continue;
    }
    std::vector<OwnScores> scores;
    scores.reserve(rounds.size());  // views refer to them
    std::vector<RoundView> own;
    for (const RoundView& round : rounds) {
      scores.emplace_back(round.scores, wants_, wanted_[m]);
      own.push_back({round.slot, round.committed, round.draft, scores.back(), round.verdict, round.emitted});
    }
    members_[m]->observe(own);
  }
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
    all.several_distributions |= own.several_distributions;
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

}  // namespace foretell::bases
