#include "experiments/certify/toy_pipeline.h"
#include "experiments/certify/toy_tokenizer.h"
#include "framework/datasets/continuation.h"
#include "framework/tokenizers/map_vocabularies.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using namespace certify;

TEST_CASE("tokens of two vocabularies correspond by their text") {
  // a b c d e against a b c d ab.
  const VocabularyMap map = map_vocabularies(toy_target_tokenizer(5), 6, toy_draft_tokenizer(5), 7);
  CHECK(map.shared == 4);
  CHECK(map.to_target == std::vector<Token>{0, 1, 2, 3, -1, -1, -1});
  REQUIRE(map.to_draft.size() == 6);
  for (Token token = 0; token < 4; ++token) CHECK(map.to_draft[static_cast<std::size_t>(token)] == Tokens{token});
  for (const Tokens& own : map.to_draft) CHECK(!own.empty());  // also of what the draft lacks, and of padding
}

TEST_CASE("a tokenizer that adds no space can continue a text anywhere") {
  const ContinuationEncoder encoder(toy_draft_tokenizer(5));
  CHECK(encoder.can_start_at(1));
  CHECK(encoder.can_encode("abc"));
  CHECK(encoder.encode("cab") == Tokens{2, 4});
}

TEST_CASE("a draft is accepted through text as it is through shared tokens") {
  const Request request{.prompt = {1, 2, 3, 2, 3}, .max_new_tokens = 60};
  for (const char* drafter :
       {"{type: universal, num_speculative_tokens: 4}", "{type: universal, method: text, num_speculative_tokens: 4}"}) {
    const Setup setup = toy_setup(drafter);
    const Generation answer = run(setup, {request}).front();
    INFO(drafter);
    CHECK(answer.tokens == reference_greedy(*setup.model, request));
    CHECK(answer.rounds.size() < 50);
  }
}

TEST_CASE("universal takes a tree where it drafts tokens, and refuses one where it drafts text") {
  using Catch::Matchers::Contains;
  CHECK(toy_setup("{type: universal, tree: {type: widths, widths: [2, 1]}}").drafter()->form().tree);
  CHECK_THROWS_WITH(toy_setup("{type: universal, method: text,\n tree: {type: widths, widths: [2]}}"),
                    Contains("drafter:2: ") && Contains("drafts a chain"));
  CHECK_FALSE(toy_setup("{type: universal, method: text, tree: none}").drafter()->form().tree);
}

}  // namespace
}  // namespace foretell
