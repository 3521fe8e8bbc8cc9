#include "framework/datasets/corpus.h"

#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

using testing::TemporaryFolder;

TEST_CASE("Corpus: plain text is one document, answer rows are one a turn") {
  const TemporaryFolder folder;
  const auto tokenizer =
      load_tokenizer(folder.write("tokenizer.json", testing::tiny_tokenizer_json(testing::Base::kBytes, "{}")));
  const std::string a = "hello there", b = "hello";
  const auto text = folder.write("a.txt", a);
  const auto rows =
      folder.write("a.jsonl", R"({"question_id": 1, "choices": [{"index": 0, "turns": ["hello there", "", "hello"]}]})"
                              "\n");
  CHECK(read_corpus(text, *tokenizer, 100) == std::vector<Tokens>{tokenizer->encode(a)});
  CHECK(read_corpus(rows, *tokenizer, 100) == std::vector<Tokens>{tokenizer->encode(a), tokenizer->encode(b)});
}

TEST_CASE("Corpus: reading ends after the tokens that were asked for") {
  const TemporaryFolder folder;
  const auto tokenizer =
      load_tokenizer(folder.write("tokenizer.json", testing::tiny_tokenizer_json(testing::Base::kBytes, "{}")));
  const auto text = folder.write("a.txt", "hello there hello there");
  const Tokens all = read_corpus(text, *tokenizer, 1000).at(0);
  REQUIRE(all.size() > 3);
  CHECK(read_corpus(text, *tokenizer, 3) == std::vector<Tokens>{{all.begin(), all.begin() + 3}});
  std::string longer;
  for (int i = 0; i < 5000; ++i) longer += "hello world \xC3\xA9 abc ";
  const Tokens whole = tokenizer->encode(longer);
  for (const int count : {1, 10, 1001, 20000})
    CHECK(read_corpus(folder.write("long.txt", longer), *tokenizer, count) ==
          std::vector<Tokens>{{whole.begin(), whole.begin() + count}});
  CHECK(read_corpus(text, *tokenizer, 0).empty());
  CHECK(read_corpus(folder.write("empty.txt", ""), *tokenizer, 10).empty());
  CHECK_THROWS_WITH(read_corpus(folder.path() / "none.txt", *tokenizer, 10),
                    Catch::Contains("none.txt: cannot be opened"));
  CHECK_THROWS_WITH(read_corpus(folder.write("bad.jsonl", "{\"question_id\": 1}\n"), *tokenizer, 10),
                    Catch::Contains("bad.jsonl:1: "));
}

}  // namespace
}  // namespace foretell
