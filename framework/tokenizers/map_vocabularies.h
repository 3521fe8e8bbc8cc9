// Which tokens of two tokenizers stand for the same text (token-level intersection; Timor et al. 2025, arXiv
// 2502.05202).
//
// Contract: tokens are the same if they add the same text to what came before them, a leading space included, however
// the two files spell it. Tokens that are part of a character are compared by their spelling, which only byte-level
// vocabularies share. The end tokens of the two correspond.
#pragma once

#include "framework/core/vocabulary_map.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::tokenizers {

// Vocabularies are those of the models: ids that a tokenizer does not have correspond to nothing.
VocabularyMap map_vocabularies(const std::shared_ptr<const Tokenizer>& target, int target_vocab,
                               const std::shared_ptr<const Tokenizer>& draft, int draft_vocab);

SharedIds shared_ids(const Tokenizer& target, const Tokenizer& draft);

}  // namespace foretell::tokenizers
