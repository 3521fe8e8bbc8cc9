// Drafting by a language model: a LevelDrafter whose source is a ModelSource, with what such drafters share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "framework/core/vocabulary_map.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/bases/model_source.h"

namespace foretell::bases {

class ModelDrafter : public LevelDrafter {
 public:
  // `context` for the tree policy of a pipeline whose drafter names none; `vocabulary` where the model's is not the
  // target's.
  ModelDrafter(ModelDraftOptions options, std::shared_ptr<const model::LanguageModel> model,
               const BuildContext& context, std::optional<VocabularyMap> vocabulary = std::nullopt);
};

// The checkpoint that a drafter's own option names, else the study's model.draft. An Error if there is neither.
std::string draft_checkpoint(const std::string& option, const BuildContext& context, const char* drafter);
// That checkpoint, loaded. An Error unless it has the target's vocabulary, or one that differs from it in padding
// alone: then it is aligned.
std::shared_ptr<const model::LanguageModel> load_draft(const std::string& option, const BuildContext& context,
                                                       const char* drafter);

}  // namespace foretell::bases
