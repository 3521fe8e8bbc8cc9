// Tokenizers for toy vocabularies, so that drafters that go through text can be certified too.
//
// Contract: token t of the target is the letter 'a' + t. The draft has these letters but for its last token, which is
// "ab": one token of each side has no counterpart, and a text has more than one spelling in the draft's tokens.
#pragma once

#include <memory>

#include "framework/tokenizers/tokenizer.h"

namespace foretell::certify {

std::shared_ptr<const tokenizers::Tokenizer> toy_target_tokenizer(int vocab);
std::shared_ptr<const tokenizers::Tokenizer> toy_draft_tokenizer(int vocab);

}  // namespace foretell::certify
