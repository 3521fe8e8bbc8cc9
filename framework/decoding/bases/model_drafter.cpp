#include "framework/decoding/bases/model_drafter.h"

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/aligned_vocabulary.h"

namespace foretell::bases {

std::string draft_checkpoint(const std::string& option, const BuildContext& context, const char* drafter) {
  std::string path = !option.empty() ? context.file(option) : context.draft_model.value_or("");
  if (path.empty())
    fail("drafter '{}' needs a draft checkpoint: give model.draft in the study or 'model' here", drafter);
  return path;
}

std::shared_ptr<const model::LanguageModel> load_draft(const std::string& option, const BuildContext& context,
                                                       const char* drafter) {
  const std::string path = draft_checkpoint(option, context, drafter);
  return decoding::in_target_ids(context.load_model(path), context.vocab,
                                 context.shared_ids ? context.shared_ids(path) : std::nullopt, path);
}

namespace {

std::unique_ptr<ModelSource> source_of(std::shared_ptr<const model::LanguageModel> model, const BuildContext& context,
                                       std::optional<VocabularyMap> vocabulary) {
  FORETELL_CHECK(vocabulary || model->config().vocab_size == context.vocab, "{} tokens, the target has {}",
                 model->config().vocab_size, context.vocab);
  return std::make_unique<ModelSource>(std::move(model), std::move(vocabulary));
}

}  // namespace

ModelDrafter::ModelDrafter(ModelDraftOptions options, std::shared_ptr<const model::LanguageModel> model,
                           const BuildContext& context, std::optional<VocabularyMap> vocabulary)
    : LevelDrafter(std::move(options), source_of(std::move(model), context, std::move(vocabulary)), context) {}

}  // namespace foretell::bases
