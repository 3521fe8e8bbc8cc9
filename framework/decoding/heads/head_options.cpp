#include "framework/decoding/heads/head_options.h"

#include "framework/core/error.h"
#include "framework/model/language_model.h"

namespace foretell::decoding::heads {

void HeadOptions::declare(Parameters& p, std::vector<std::string> aliases) {
  aliases.emplace_back("speculative_model");
  p.add("head", head, "folder of a trained head, or random: an untrained one, for tests",
        {.aliases = std::move(aliases)});
  p.add("seed", seed, "of a random head");
  draft.declare(p);
  where = p.where();
}

std::optional<std::filesystem::path> HeadOptions::find(const BuildContext& context, std::string_view drafter) const {
  if (head.empty())
    fail_at(where, "drafter '{}' needs a head: expected head: FOLDER, or head: random for an untrained one", drafter);
  if (!context.target || !context.target->parts())
    fail_at(where, "drafter '{}' reads the target's states and head: it needs a model as target", drafter);
  if (head == "random") return std::nullopt;
  return context.file(head);
}

bases::ModelDraftOptions with_tree(bases::ModelDraftOptions draft, const BuildContext& context, ConfigValue tree) {
  if (draft.tree.is_null() && !context.tree) draft.tree = std::move(tree);
  return draft;
}

}  // namespace foretell::decoding::heads
