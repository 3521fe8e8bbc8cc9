/// @file
/// What a strategy's constructor may use besides its own parameters.
///
/// Contract: valid only while the constructor runs, except what is held by shared_ptr. Includes no LibTorch: models are
/// handled by pointer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "framework/core/config_value.h"
#include "framework/core/vocabulary_map.h"

namespace foretell::cost {
class RowCosts;
}  // namespace foretell::cost

namespace foretell::decoding {
struct ForwardRules;
}  // namespace foretell::decoding

namespace foretell::model {
class LanguageModel;
}  // namespace foretell::model

namespace foretell::tokenizers {
class Tokenizer;
}  // namespace foretell::tokenizers

namespace foretell {

class Drafter;

/// What a drafter does with the drafts of another one that it is made of.
enum class MemberUse {
  Proposed,        ///< proposes them as they are, alone or beside those of others
  VerifiedInside,  ///< verifies them itself and proposes what comes out
};

/// What a pipeline offers to the strategies that it is made of.
struct BuildContext {
  int vocab = 0;                                                ///< the target's
  int batch_size = 1;                                           ///< sequences at once
  std::shared_ptr<const model::LanguageModel> target = {};      ///< none if the target is no model
  const decoding::ForwardRules* target_rules = nullptr;         ///< of scoring; null: the checkpoint's
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer = {};  ///< the target's, if it has one
  std::optional<std::string> draft_model = {};                  ///< the study's model.draft
  /// Loads a model, or hands out the one that was loaded from the same place before.
  std::function<std::shared_ptr<const model::LanguageModel>(const std::string& path)> load_model = {};
  /// The tokenizer of a model's folder; none if it has none.
  std::function<std::shared_ptr<const tokenizers::Tokenizer>(const std::string& path)> load_tokenizer = {};
  /// How the target's ids stand to those of the model of a folder. None if either has no tokenizer.
  std::function<std::optional<SharedIds>(const std::string& path)> shared_ids = {};
  /// A file that a study names, found: "${NAME}" is an environment variable, a relative path is looked for here, then
  /// beside the study.
  std::function<std::string(const std::string& path)> find_file = {};
  /// find_file() where there is one, else the path itself.
  std::string file(const std::string& path) const { return find_file ? find_file(path) : path; }
  std::optional<ConfigValue> tree = {};  ///< the pipeline's tree policy
  /// What a forward of n rows of the target and of the draft model takes on this machine: measured when it is first
  /// asked for, and once a run. Null or empty where there is nothing to measure (no model).
  std::function<std::shared_ptr<const cost::RowCosts>()> row_costs = {};
  /// Sees every drafter that another one is made of, by its name, and may wrap it: certification counts which of them
  /// had a part in what was scored.
  std::function<std::unique_ptr<Drafter>(std::unique_ptr<Drafter>, const std::string& name, MemberUse)> on_member = {};
};

}  // namespace foretell
