#include "framework/decoding/heads/mask_drafter.h"

#include <limits>

#include "framework/core/error.h"
#include "framework/decoding/aligned_vocabulary.h"
#include "framework/decoding/bases/model_drafter.h"

namespace foretell::decoding::heads {
namespace {

model::heads::MaskDraft draft_of(const MaskDrafterOptions& options, const BuildContext& context, bool second) {
  const char* name = second ? "pard2" : "pard";
  if (options.head == "random") {
    if (!context.target || !context.target->parts())
      fail_at(options.where, "drafter '{}': head: random drafts with the target itself: it needs a model as target",
              name);
    return model::heads::untrained_mask_draft(context.target, second, static_cast<std::uint64_t>(options.seed));
  }
  const std::string folder = bases::draft_checkpoint(options.head, context, name);
  const auto own = context.load_model(folder);
  const auto aligned =
      in_target_ids(own, context.vocab, context.shared_ids ? context.shared_ids(folder) : std::nullopt, folder);
  auto draft = model::heads::load_mask_draft(
      folder, {own, aligned}, options.mask_token ? std::optional<Token>(*options.mask_token) : std::nullopt,
      context.target);
  if (draft.projects != second)
    fail_at(options.where, "{}: 'spd_type' says that this is a draft for the drafter '{}'", folder,
            second ? "pard" : "pard2");
  return draft;
}

}  // namespace

void MaskDrafterOptions::declare(Parameters& p) {
  p.add("head", head,
        "folder of the draft checkpoint, or random: the target itself, for tests; empty: the study's "
        "model.draft",
        {.aliases = {"model", "draft_model", "speculative_model"}});
  p.add("mask_token", mask_token, "the id that stands for a token not known yet; none: the checkpoint's pard_token",
        {.min = 0, .max = static_cast<double>(std::numeric_limits<Token>::max()), .aliases = {"pard_token"}});
  p.add("seed", seed, "of an untrained projection");
  draft.declare(p);
  where = p.where();
}

MaskDrafter::MaskDrafter(const MaskDrafterOptions& options, const BuildContext& context, bool second)
    : bases::LevelDrafter(options.draft, std::make_unique<MaskSource>(draft_of(options, context, second)), context) {}

}  // namespace foretell::decoding::heads
