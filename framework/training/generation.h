// Answers of a model, through the same loop as everything else.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/api/request.h"
#include "framework/core/config_value.h"
#include "framework/model/language_model.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::training {

// Who drafts: what a study would write of it.
struct DraftedBy {
  ConfigValue drafter = ConfigValue::scalar("none");
  std::shared_ptr<const model::LanguageModel> draft_model = {};  // of drafters that run one
};
// Plain decoding by default.
std::vector<Generation> generate_with(const std::shared_ptr<const model::LanguageModel>& target,
                                      std::span<const Request> requests, const DraftedBy& drafted_by = {});

// Without the token that ended it.
std::string answer_text(const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer, TokenSpan prompt,
                        const Generation& generation);

}  // namespace foretell::training
