// How the tokens of a draft model stand to those of its target where the two have different vocabularies.
#pragma once

#include <vector>

#include "framework/base/types.h"

namespace foretell {

struct VocabularyMap {
  // By target token: itself in the draft's vocabulary, or the draft's tokens for its text. Never empty.
  std::vector<Tokens> to_draft;
  // By draft token: the target's token, -1 if it has none.
  std::vector<Token> to_target;
  int shared = 0;  // draft tokens that the target has
};

}  // namespace foretell
