/// @file
/// A drafter made of drafters.
///
/// Contract: every member sees every prompt and every round, also those in which another one drafted, so a member finds
/// its own nodes in a round's draft by their tokens and not by their ids. The target is asked for the hidden states
/// that any member wants, and each member gets those that it asked for itself, in its own order; one that asked for
/// none gets none.
#pragma once

#include <memory>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"

namespace foretell::bases {

/// How a drafter builds another one that it is made of.
std::unique_ptr<Drafter> make_member(const ConfigValue& description, const BuildContext& context,
                                     MemberUse use = MemberUse::Proposed);

/// The base of drafters that are made of drafters.
class CompositeDrafter : public Drafter {
 public:
  HiddenStateRequest required_hidden_states() const override { return wants_; }
  /// Needs logits if a member does, rewinds if all do.
  DrafterTraits traits() const override;
  void check(const Request& request) const override;
  void begin(SlotId slot, const PromptView& prompt) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override;

 protected:
  /// From a list of descriptions: [{type: ...}, ...], at least two. `key` names it in messages.
  CompositeDrafter(const ConfigValue& list, const char* key, const BuildContext& context);
  /// Of members that exist already.
  explicit CompositeDrafter(std::vector<std::unique_ptr<Drafter>> members);

  /// The member at `index`, in the order of the list.
  Drafter& member(std::size_t index) const { return *members_[index]; }
  /// All members in their order.
  std::span<const std::unique_ptr<Drafter>> members() const { return members_; }
  /// The forms of all members together.
  DraftForm member_forms() const;
  /// The members in turn, each for the sequences that have no draft yet; a draft that `good` refuses is not used. A
  /// draft that holds drawn tokens is used as it is: to drop one for what was drawn would change the distribution.
  std::vector<DraftTree> draft_in_turn(std::span<const DraftContext> batch,
                                       const std::function<bool(std::size_t member, const DraftTree&)>& good) const;
  /// `budget`, no more than the member's own limits.
  static DraftBudget within(const DraftBudget& budget, const DraftBudget& limits);

 private:
  std::vector<std::unique_ptr<Drafter>> members_;
  std::vector<HiddenStateRequest> wanted_;  // by each member
  HiddenStateRequest wants_;                // by any
};

}  // namespace foretell::bases
