// What ends an answer.
//
// Contract: stop tokens are those of the model's configuration, else of its tokenizer; a chat template adds its own.
// Stop strings are looked for in the answer's text, also where one is spread over several tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/api/request.h"
#include "framework/chat/chat_template.h"
#include "framework/model/language_model.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::util {

std::vector<Token> stop_tokens_of(const model::LanguageModel& model, const tokenizers::Tokenizer* tokenizer);

// The template's stop strings that are single tokens of the vocabulary.
void add_template_stops(const tokenizers::Tokenizer& tokenizer, const chat::ChatTemplate& chat, bool ignore_eos,
                        std::vector<Token>& stop_tokens);

// Watches one answer that follows `prompt`.
std::shared_ptr<StopWatcher> watch_stop_strings(std::shared_ptr<const tokenizers::Tokenizer> tokenizer,
                                                TokenSpan prompt, std::vector<std::string> strings);

// The text up to where the first of the stop strings begins.
std::string cut_at_stop_string(const std::string& text, const std::vector<std::string>& strings);

}  // namespace foretell::util
