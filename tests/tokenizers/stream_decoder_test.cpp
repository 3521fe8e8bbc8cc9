#include <random>

#include "framework/core/error.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"
#include "tests/support/catch.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

using testing::Base;

std::shared_ptr<const Tokenizer> json_tokenizer(Base base, std::string_view parts = "{}") {
  return parse_tokenizer_json(testing::tiny_tokenizer_json(base, parts), "tokenizer.json");
}

std::vector<std::shared_ptr<const Tokenizer>> all_kinds() {
  return {
      json_tokenizer(Base::kBytes),
      json_tokenizer(Base::kMetaspace),
      json_tokenizer(Base::kMetaspace, R"({"decoder":null})"),
      json_tokenizer(Base::kMetaspace,
                     R"({"decoder":{"type":"Metaspace","replacement":"\u2581","add_prefix_space":true}})"),
      json_tokenizer(
          Base::kMetaspace,
          R"({"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"ab"},"content":"<>"},
              {"type":"Strip","content":"c","start":1,"stop":2},{"type":"Strip","content":"\u2581","start":2,"stop":1}]}})"),
      json_tokenizer(Base::kMetaspace, R"({"decoder":{"type":"BPEDecoder","suffix":"c"}})"),
      json_tokenizer(Base::kMetaspace, R"({"decoder":{"type":"WordPiece","prefix":"a","cleanup":true}})"),
      parse_tokenizer_bin(testing::tiny_tokenizer_bin(), "tokenizer.bin"),
      parse_tokenizer_model(testing::tiny_tokenizer_model(), "tokenizer.model")};
}

TEST_CASE("A stream gives the text of the whole, in whole characters") {
  std::mt19937 random(7);
  for (const auto& tokenizer : all_kinds()) {
    for (int repeat = 0; repeat < 400; ++repeat) {
      Tokens ids(random() % 20);
      for (Token& id : ids) id = static_cast<Token>(random() % static_cast<unsigned>(tokenizer->vocab_size()));
      StreamDecoder stream(tokenizer);
      std::string joined;
      for (const Token id : ids) {
        const std::string part = stream.push(id);
        REQUIRE(unicode::is_valid(part));
        joined += part;
      }
      REQUIRE(joined + stream.finish() == tokenizer->decode(ids));
    }
  }
}

TEST_CASE("A character of several tokens comes out whole, with its last byte") {
  const std::string text = "a\xF0\x9F\x99\x82\xE2\x82\xAC";  // a, a smile, the euro sign
  const auto tokenizer =
      json_tokenizer(Base::kBytes, R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})");
  StreamDecoder stream(tokenizer);
  std::vector<std::string> parts;
  for (const Token id : tokenizer->encode(text)) parts.push_back(stream.push(id));
  CHECK(parts == std::vector<std::string>{"a", "", "", "", "\xF0\x9F\x99\x82", "", "", "\xE2\x82\xAC"});
  CHECK(stream.finish().empty());
}

TEST_CASE("What is not UTF-8 becomes U+FFFD, an unfinished character at the end") {
  const std::string bad = "\xEF\xBF\xBD";
  const auto bytes = json_tokenizer(Base::kBytes);
  CHECK(bytes->decode(Tokens{0xE2, 0x82, 'x'}) == bad + "x");  // one for each prefix of a character
  CHECK(bytes->decode(Tokens{0xE2, 0x82}) == bad);
  const auto fallback = json_tokenizer(Base::kMetaspace);
  CHECK(fallback->decode(Tokens{3 + 0xE2, 3 + 0x82}) == bad + bad);  // one for each byte token of the run
  CHECK(fallback->decode(Tokens{3 + 0xE2, 3 + 0x82, 3 + 0xAC}) == "\xE2\x82\xAC");
}

TEST_CASE("A continuation keeps the space that decoding it alone would drop") {
  const auto tokenizer = json_tokenizer(Base::kMetaspace);
  const Tokens ab = {
      *tokenizer->token_to_id("\xE2\x96\x81"
                              "ab")};
  CHECK(tokenizer->decode(ab) == "ab");
  CHECK(decode_continuation(tokenizer, ab, ab) == " ab");
  CHECK(decode_continuation(tokenizer, ab, {}).empty());
}

TEST_CASE("Ids that a tokenizer does not have: an Error to decode, nothing in a stream") {
  for (const auto& tokenizer : all_kinds()) {
    const Token outside = tokenizer->vocab_size();
    CHECK_THROWS_AS(tokenizer->decode(Tokens{outside}), Error);
    CHECK_THROWS_AS(tokenizer->decode(Tokens{-1}), Error);
    CHECK_THROWS_AS(tokenizer->id_to_token(outside), Error);
    StreamDecoder stream(tokenizer);
    CHECK(stream.push(outside).empty());
    CHECK(stream.push(-5).empty());
  }
}

TEST_CASE("A long stream costs no more per token than a short one") {
  // A window that is decoded again at each push would need 10^10 steps here.
  const auto tokenizer = json_tokenizer(Base::kMetaspace);
  StreamDecoder stream(tokenizer);
  std::size_t size = 0;
  for (int i = 0; i < 100'000; ++i) size += stream.push(3 + 'x').size();
  CHECK(size + stream.finish().size() == 100'000);
}

TEST_CASE("Special tokens can be left out") {
  const auto json = json_tokenizer(Base::kMetaspace);
  const Tokens ids = {1, *json->token_to_id("a"), 2};
  CHECK(json->decode(ids) == "<s>a</s>");
  CHECK(json->decode(ids, true) == "a");
  const auto streamed = [&](bool skip_special) {
    StreamDecoder stream(json, skip_special);
    std::string text;
    for (const Token id : ids) text += stream.push(id);
    return text + stream.finish();
  };
  CHECK(streamed(false) == "<s>a</s>");
  CHECK(streamed(true) == "a");
  CHECK(decode_continuation(json, TokenSpan(ids).first(1), TokenSpan(ids).subspan(1), true) == "a");
}

}  // namespace
}  // namespace foretell
