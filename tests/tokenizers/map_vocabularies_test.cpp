#include "framework/tokenizers/map_vocabularies.h"

#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

TEST_CASE("Of two tokens with one text the first stands for it") {
  const auto tokenizer =
      parse_tokenizer_json(testing::tiny_tokenizer_json(testing::Base::kMetaspace, "{}"), "tokenizer.json");
  const int vocab = tokenizer->vocab_size();
  const Token byte = 3 + 'a', letter = *tokenizer->token_to_id("a");
  REQUIRE(byte < letter);
  REQUIRE(tokenizer->decode(Tokens{byte}) == tokenizer->decode(Tokens{letter}));
  const VocabularyMap map = map_vocabularies(tokenizer, vocab, tokenizer, vocab);
  CHECK(map.to_draft[static_cast<std::size_t>(byte)] == Tokens{byte});
  CHECK(map.to_draft[static_cast<std::size_t>(letter)] == Tokens{byte});
  CHECK(map.to_target[static_cast<std::size_t>(byte)] == byte);
  CHECK(map.to_target[static_cast<std::size_t>(letter)] == -1);
  int shared = 0;
  for (const Token token : map.to_target) shared += token >= 0;
  CHECK(map.shared == shared);
}

}  // namespace
}  // namespace foretell
