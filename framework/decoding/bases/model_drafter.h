// Drafting by a language model: a LevelDrafter whose source is a ModelSource, with what such drafters share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "framework/core/parameters.h"
#include "framework/core/vocabulary_map.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/bases/model_source.h"

namespace foretell::bases {

// Where a target that drafts for itself puts the rows it drafts: on its own cache, which drops them before they are
// scored, or on a second one.
struct DraftCacheOption {
  std::string choice = "auto";
  Location where = {};
  void declare(Parameters& p);
};

class ModelDrafter : public LevelDrafter {
 public:
  // `context` for the tree policy of a pipeline whose drafter names none; `vocabulary` where the model's is not the
  // target's.
  ModelDrafter(ModelDraftOptions options, std::shared_ptr<const model::LanguageModel> model,
               const BuildContext& context, std::optional<VocabularyMap> vocabulary = std::nullopt);

 protected:
  // Called once, by the constructor of a drafter whose model is the target, or has its shape. No policy: all of the
  // cache is seen. A second cache is taken where it is asked for, where the policy looks at weights, and for trees that
  // grow beyond what is scored; if the option forbids it there, an Error.
  void draft_for_itself(std::unique_ptr<const AttentionPolicy> policy, const DraftCacheOption& cache,
                        const char* drafter);
};

// The checkpoint that a drafter's own option names, else the study's model.draft. An Error if there is neither.
std::string draft_checkpoint(const std::string& option, const BuildContext& context, const char* drafter);
// That checkpoint, loaded. An Error unless it has the target's vocabulary, or one that differs from it in padding
// alone: then it is aligned.
std::shared_ptr<const model::LanguageModel> load_draft(const std::string& option, const BuildContext& context,
                                                       const char* drafter);

}  // namespace foretell::bases
