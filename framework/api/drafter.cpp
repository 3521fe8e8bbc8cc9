#include "framework/api/drafter.h"

namespace foretell {

std::vector<DraftTree> PerSequenceDrafter::draft(std::span<const DraftContext> batch) {
  std::vector<DraftTree> drafts;
  drafts.reserve(batch.size());
  for (const DraftContext& context : batch) drafts.push_back(sequences_.at(context.slot)->draft(context));
  return drafts;
}

void PerSequenceDrafter::observe(std::span<const RoundView> rounds) {
  for (const RoundView& round : rounds) sequences_.at(round.slot)->observe(round);
}

}  // namespace foretell
