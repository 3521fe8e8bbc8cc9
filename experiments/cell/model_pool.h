// The models and tokenizers of a command, each loaded once.
//
// Contract: a model is known by its folder, dtype and device; asked for again, the same object comes back. Models
// that a study describes (made_models.h) are kept in `made_folder`.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "framework/chat/chat_template.h"
#include "framework/core/config_value.h"
#include "framework/core/vocabulary_map.h"
#include "framework/cost/row_costs.h"
#include "framework/model/load_model.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::cell {

class ModelPool {
 public:
  explicit ModelPool(std::filesystem::path made_folder) : made_folder_(std::move(made_folder)) {}

  std::shared_ptr<const model::LanguageModel> model(const std::filesystem::path& folder,
                                                    const model::ModelLoadOptions& options);
  // What a forward of n rows of either takes, measured once for each pair and number of threads; `draft` may be empty.
  std::shared_ptr<const cost::RowCosts> row_costs(const std::filesystem::path& target,
                                                  const std::filesystem::path& draft,
                                                  const model::ModelLoadOptions& options);
  // Null where the folder has none.
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer(const std::filesystem::path& folder_or_file);
  // For BuildContext::shared_ids. `target` may be none. Tokenizers that agree but for a few ids are named on standard
  // error, once.
  std::optional<SharedIds> shared_ids(const tokenizers::Tokenizer* target, const std::filesystem::path& draft);
  // A draft model in the ids of its target (aligned_vocabulary.h).
  std::shared_ptr<const model::LanguageModel> draft_model(const model::LanguageModel& target,
                                                          const tokenizers::Tokenizer* target_tokenizer,
                                                          const std::filesystem::path& folder,
                                                          const model::ModelLoadOptions& options);
  // What a folder's prompts are written in where the user has chosen nothing: the model's own chat template if it is a
  // known one, else none. A template that is not known is named on standard error, once.
  const chat::ChatTemplate& own_template(const std::filesystem::path& folder);
  // Lets go of the models that nobody else holds.
  void forget_unused();
  // The folder that a study's model.target or model.draft stands for.
  std::filesystem::path folder_of(const ConfigValue& description, std::string_view key,
                                  const std::filesystem::path& study_folder) const;

 private:
  std::filesystem::path made_folder_;
  std::map<std::string, std::shared_ptr<const model::LanguageModel>> models_;
  std::map<std::string, std::shared_ptr<const tokenizers::Tokenizer>> tokenizers_;
  std::map<std::string, chat::ChatTemplate> templates_;
  std::set<std::string> named_drafts_;  // whose tokenizer differs in a few ids
  std::map<std::string, std::shared_ptr<const cost::RowCosts>> costs_;
};

// What a model's numbers are between its matrices: the asked type, or the checkpoint's own, which int8 weights
// leave as it is.
std::string number_type(const std::optional<std::string>& dtype, const formats::ModelConfig& config);
// Of `dtype`, `kv_dtype` and `device` as users write them.
model::ModelLoadOptions load_options(const std::optional<std::string>& dtype, const std::string& device,
                                     const std::optional<std::string>& kv_dtype = {});

// An Error unless every id of the tokenizer has a row in the model. A model may have more rows: padding.
void check_vocabulary(const model::LanguageModel& model, const tokenizers::Tokenizer* tokenizer,
                      const std::filesystem::path& folder);

// `type` of a mapping, or nothing for a plain value.
std::string model_type(const ConfigValue& description);

}  // namespace foretell::cell
