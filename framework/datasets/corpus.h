// A text file as documents of tokens, for strategies that learn from a corpus before they see the first prompt.
//
// Contract: a name that ends in .jsonl holds FastChat's answer rows and gives one document a turn; every other file is
// plain text and one document. Reading ends after `max_tokens`, within a document if need be. Documents are encoded
// without special tokens around them; none is empty.
#pragma once

#include <filesystem>
#include <vector>

#include "framework/core/types.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::datasets {

std::vector<Tokens> read_corpus(const std::filesystem::path& file, const tokenizers::Tokenizer& tokenizer,
                                int max_tokens);

}  // namespace foretell::datasets
