/// @file
/// How the tokens of a draft model stand to those of its target where the two have different vocabularies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/core/types.h"

namespace foretell {

/// Translates tokens between the vocabularies of target and draft model.
struct VocabularyMap {
  /// By target token: itself in the draft's vocabulary, or the draft's tokens for its text. Never empty.
  std::vector<Tokens> to_draft;
  /// By draft token: the target's token, -1 if it has none.
  std::vector<Token> to_target;
  int shared = 0;  ///< draft tokens that the target has
};

/// How two tokenizers spell the ids that both of them have: all of the shorter one's.
struct SharedIds {
  int count = 0;      ///< ids that both have
  int different = 0;  ///< of them, those that the two spell otherwise
  /// The first of these, and what it is to either.
  Token first = -1;
  std::string in_target = {};  ///< what `first` is to the target
  std::string in_draft = {};   ///< what `first` is to the draft model
  /// Fine-tuned models rename a few special tokens; more than one id in a hundred is another tokenizer.
  bool agree() const { return count > 0 && std::int64_t{different} * 100 <= count; }
};

}  // namespace foretell
