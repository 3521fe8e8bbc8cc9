// Answers of a model, through the same loop as everything else.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/api/request.h"
#include "framework/model/language_model.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::training {

// Plain decoding, or with a draft model that proposes `depth` tokens a round.
struct DraftedBy {
  std::shared_ptr<const model::LanguageModel> draft;
  int depth = 4;
};
std::vector<Generation> generate_with(const std::shared_ptr<const model::LanguageModel>& target,
                                      std::span<const Request> requests,
                                      const std::optional<DraftedBy>& drafted_by = {});

// Without the token that ended it.
std::string answer_text(const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer, TokenSpan prompt,
                        const Generation& generation);

}  // namespace foretell::training
