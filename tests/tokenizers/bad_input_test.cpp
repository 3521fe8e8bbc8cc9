// Files that lie, are cut off or are none: one line that says what was found and what was expected.
#include <functional>

#include "framework/core/error.h"
#include "framework/tokenizers/sentencepiece_file.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

using Catch::Contains;
using testing::Base;

void json_fails(std::string_view parts, const char* message) {
  INFO(parts);
  CHECK_THROWS_WITH(parse_tokenizer_json(testing::tiny_tokenizer_json(Base::kBytes, parts), "t.json"),
                    Contains(message) && !Contains("\n"));
}

TEST_CASE("tokenizer.json: what is wrong is named with its path") {
  json_fails(R"({"model":{"type":"Magic"}})", "t.json: /model: model 'Magic' is not supported; supported: BPE");
  json_fails(R"({"model":{"vocab":"x"}})", "t.json: /model/vocab: expected an object, found a string");
  json_fails(R"({"model":{"vocab":{"a":-1}}})", "\"a\" has id -1; ids are from 0 to 4194303");
  json_fails(R"({"model":{"vocab":{"a":4194304}}})", "\"a\" has id 4194304");
  json_fails(R"({"model":{"vocab":{"a":18446744073709551615}}})", "\"a\" has id 4194304");
  json_fails(R"({"model":{"vocab":{"a":1.5}}})", "the id of \"a\" is not an integer");
  json_fails(R"({"model":{"vocab":{"a":1,"b":1}}})", "id 1 is given to \"a\" and to \"b\"");
  json_fails(R"({"model":{"merges":["a zz"]}})", "/model/merges/0: \"zz\" is not in the vocabulary");
  json_fails(R"({"model":{"merges":["abc"]}})", "/model/merges/0: expected \"left right\"");
  json_fails(R"({"model":{"merges":[["a"]]}})", "/model/merges/0: expected \"left right\"");
  json_fails(R"({"model":{"merges":["b a"]}})", "\"ba\" is not in the vocabulary");
  json_fails(R"({"model":{"dropout":0.5}})", "/model/dropout: BPE dropout is not supported");
  json_fails(R"({"normalizer":{"type":"Precompiled"}})", "/normalizer: normalizer 'Precompiled' is not supported");
  json_fails(R"({"normalizer":{"type":"Nmt"}})", "normalizer 'Nmt' is not supported");
  json_fails(R"({"normalizer":{}})", "/normalizer: key 'type' is missing");
  json_fails(R"({"pre_tokenizer":{"type":"UnicodeScripts"}})", "pre-tokenizer 'UnicodeScripts' is not supported");
  json_fails(R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}})",
             "/pre_tokenizer/pattern/Regex: pattern \"(\" cannot be compiled");
  json_fails(R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[a"},"behavior":"Isolated"}})", "[ without ]");
  json_fails(R"({"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Sideways"}})",
             "/pre_tokenizer/behavior: expected Removed");
  json_fails(R"({"pre_tokenizer":{"type":"Split","pattern":"a","behavior":"Removed"}})",
             "/pre_tokenizer/pattern: expected an object, found a string");
  json_fails(R"({"pre_tokenizer":{"type":"Metaspace","replacement":"ab"}})",
             "/pre_tokenizer/replacement: expected one character");
  json_fails(R"({"decoder":{"type":"CTC"}})", "decoder 'CTC' is not supported");
  json_fails(R"({"decoder":{"type":"Strip","content":" ","start":-1,"stop":0}})", "/decoder/start: expected 0 to");
  json_fails(R"({"post_processor":{"type":"Odd"}})", "post-processor 'Odd' is not supported");
  json_fails(R"({"post_processor":{"type":"BertProcessing","sep":["a",999],"cls":["b",1]}})",
             "adds token 999, which is not in the vocabulary of 272 tokens");
  json_fails(
      R"({"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{}}})",
      "/special_tokens: key 'x' is missing");
  json_fails(R"({"added_tokens":[{"id":-7,"content":"q7"}]})", "\"q7\" has id -7");
  json_fails(R"({"added_tokens":[{"id":5,"content":"q7"}]})", "id 5 of \"q7\" is that of");
  json_fails(R"({"added_tokens":[{"content":"q7"}]})", "/added_tokens/0: key 'id' is missing");
}

TEST_CASE("tokenizer.json: no JSON, too deep, not UTF-8, half a file") {
  const auto fails = [](const std::string& bytes, const char* message) {
    CHECK_THROWS_WITH(parse_tokenizer_json(bytes, "t.json"), Contains(message) && !Contains("\n"));
  };
  fails("", "t.json: not JSON");
  fails("[]", "t.json: expected an object, found an array");
  fails(std::string(1'000'000, '['), "t.json: nesting at byte 64 is deeper than 64 levels");
  fails("{\"a\":\"\xFF\"}", "t.json: not JSON");
  const std::string whole = testing::tiny_tokenizer_json(Base::kBytes, "{}");
  for (std::size_t size = 0; size < whole.size(); size += 97)
    CHECK_THROWS_AS(parse_tokenizer_json(whole.substr(0, size), "t.json"), Error);
}

TEST_CASE("A pattern that backtracks without end is stopped") {
  const auto tokenizer = parse_tokenizer_json(
      testing::tiny_tokenizer_json(
          Base::kBytes, R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+$"},"behavior":"Isolated"}})"),
      "t.json");
  CHECK_THROWS_WITH(tokenizer->encode(std::string(3000, 'a') + "b"), Contains("gave up on a text"));
}

TEST_CASE("A word of a megabyte and text that is not UTF-8 encode") {
  const auto bytes = parse_tokenizer_json(
      testing::tiny_tokenizer_json(Base::kBytes, R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})"),
      "t.json");
  CHECK(bytes->encode(std::string(1'000'000, 'l')).size() == 500'000);
  CHECK(bytes->encode("a\xFF"
                      "b") == bytes->encode("a\xEF\xBF\xBD"
                                            "b"));
  const auto bin = parse_tokenizer_bin(testing::tiny_tokenizer_bin(), "t.bin");
  CHECK(bin->encode(std::string(1'000'000, 'a')).size() == 500'001);
  CHECK(bin->encode("\xFF\x80") == Tokens{259, 3 + 0xFF, 3 + 0x80});
  const auto model = parse_tokenizer_model(testing::tiny_tokenizer_model(), "t.model");
  CHECK(model->encode(std::string(100'000, 'a')).size() == 100'000);
  CHECK(model->decode(model->encode("a\xFF")) == "a\xEF\xBF\xBD");
}

// `step` so many times, as a list of JSON.
std::string repeated(const std::string& step, int count) {
  std::string list = "[";
  for (int i = 0; i < count; ++i) list += (i ? "," : "") + step;
  return list + "]";
}

TEST_CASE("Steps that multiply a text are stopped long before it fills the memory") {
  const auto tokenizer = [](const std::string& parts) {
    return parse_tokenizer_json(testing::tiny_tokenizer_json(Base::kBytes, parts), "t.json");
  };
  const std::string doubling = R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"})";
  const std::string normalizers = R"({"normalizer":{"type":"Sequence","normalizers":)";
  const auto doubled = tokenizer(normalizers + repeated(doubling, 24) + "}}");
  CHECK_THROWS_WITH(doubled->encode("banana"), Contains("t.json: /normalizer/normalizers: makes ") &&
                                                   Contains("of a text of 6") && !Contains("\n"));
  CHECK(doubled->encode("bbb").size() == 3);
  CHECK(tokenizer(normalizers + repeated(doubling, 6) + "}}")->encode("a").size() == 64);
  const std::string nested = R"({"type":"Sequence","normalizers":)" + repeated(doubling, 5) + "}";
  CHECK_THROWS_WITH(tokenizer(normalizers + repeated(nested, 5) + "}}")->encode("aaaa"),
                    Contains("t.json: /normalizer"));
  const std::string long_content = std::string(70'000, 'x');
  CHECK_THROWS_WITH(
      tokenizer(R"({"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":")" + long_content + R"("}})")
          ->encode("a"),
      Contains("t.json: /normalizer: makes 70000 bytes of a text of 1"));
  // Each piece between special tokens is normalized by itself.
  const auto prefixed = tokenizer(R"({"normalizer":{"type":"Prepend","prepend":")" + std::string(60'000, 'x') +
                                  R"("},"added_tokens":[{"id":300,"content":"<q>","special":true}]})");
  CHECK(prefixed->encode("a").size() == 60'001);
  CHECK_THROWS_WITH(prefixed->encode("a<q>b<q>c"), Contains("t.json: makes 120002 bytes of a text of 9"));
  CHECK_THROWS_WITH(tokenizer(normalizers + repeated(doubling, 12) +
                              R"(},"added_tokens":[{"id":300,"content":"a","normalized":true}]})"),
                    Contains("t.json: added token \"a\" is normalized to 4096 bytes; at most 1024 are taken"));

  const std::string bytes = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
  CHECK_THROWS_WITH(tokenizer(R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":)" + repeated(bytes, 30) + "}}")
                        ->encode("\xc3\xa9"),
                    Contains("t.json: /pre_tokenizer/pretokenizers: makes "));

  const std::string decoders = R"({"decoder":{"type":"Sequence","decoders":)";
  CHECK(tokenizer(decoders + repeated(doubling, 9) + "}}") != nullptr);
  CHECK_THROWS_WITH(tokenizer(decoders + repeated(doubling, 24) + "}}"),
                    Contains("t.json: /decoder: its replacements may make a text 1.68e+07 times"));
  const std::string any = R"({"type":"Replace","pattern":{"Regex":"."},"content":"aaaaaaaa"})";
  CHECK_THROWS_WITH(tokenizer(decoders + repeated(any, 4) + "}}"),
                    Contains("t.json: /decoder: its replacements may make a text"));
}

TEST_CASE("The entries of a WordPiece vocabulary are of a bounded length, and a long word is looked up no further") {
  const auto word_piece = [](const std::string& entry) {
    return R"({"model":{"type":"WordPiece","vocab":{"[UNK]":0,"a":1,"##a":2,"##)" + entry +
           R"(":3},"max_input_chars_per_word":10000}})";
  };
  CHECK_THROWS_WITH(parse_tokenizer_json(word_piece(std::string(1025, 'b')), "t.json"),
                    Contains("t.json: /model: an entry of 1027 bytes"));
  const auto tokenizer = parse_tokenizer_json(word_piece("\xc3\xa9\xc3\xa9"), "t.json");
  CHECK(tokenizer->encode(std::string(10'000, 'a')).size() == 10'000);
  CHECK(tokenizer->encode("a\xc3\xa9\xc3\xa9"
                          "a") == Tokens{1, 3, 2});
  CHECK(tokenizer->encode("a\xc3\xa9") == Tokens{0});
}

TEST_CASE("llama2.c's file: lengths that lie") {
  const auto fails = [](const std::string& bytes, const char* message) {
    CHECK_THROWS_WITH(parse_tokenizer_bin(bytes, "t.bin"), Contains(message));
  };
  fails("", "t.bin: ends at byte 0 inside the length of the longest token, which needs 4 bytes from byte 0");
  fails(testing::tiny_tokenizer_bin({}, -3), "its longest token has -3 bytes");
  fails(testing::tiny_tokenizer_bin({}, 5), "has 0 tokens");
  std::string bytes = testing::tiny_tokenizer_bin();
  fails(bytes.substr(0, bytes.size() - 1), "inside token 269, which needs 2 bytes");
  bytes[8] = bytes[9] = bytes[10] = bytes[11] = '\xFF';
  fails(bytes, "token 0 has length -1; expected 0 to 1024");
  const std::string whole = testing::tiny_tokenizer_bin();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      parse_tokenizer_bin(whole.substr(0, size), "t.bin")
          ->encode("abc");  // a cut between two tokens leaves a smaller file
    } catch (const Error&) {
    }
  }
}

TEST_CASE("A SentencePiece file is looked through before the library sees it") {
  const auto fails = [](const std::string& bytes, const char* message) {
    CHECK_THROWS_WITH(parse_tokenizer_model(bytes, "t.model"), Contains(message));
  };
  fails("", "t.model: not a SentencePiece model: it has no pieces");
  fails("{\"json\": 1}", "t.model: not a SentencePiece model");
  const std::string whole = testing::tiny_tokenizer_model();
  for (std::size_t size = 0; size < whole.size(); size += 7)
    CHECK_THROWS_AS(parse_tokenizer_model(whole.substr(0, size), "t.model"), Error);
  // A normalizer with a character map whose table points behind its end.
  std::string map(4 + 1024 + 2, '\0');
  map[1] = 4;  // a table of 1024 bytes
  map[4] = map[5] = map[6] = '\x7F';
  map[map.size() - 2] = 'x';
  std::string normalizer =
      std::string("\x12") + static_cast<char>((map.size() & 127) | 128) + static_cast<char>(map.size() >> 7) + map;
  const std::string field = std::string("\x1A") + static_cast<char>((normalizer.size() & 127) | 128) +
                            static_cast<char>(normalizer.size() >> 7) + normalizer;
  CHECK_THROWS_WITH(scan_sentencepiece(whole.substr(0, whole.size() - 16) + field, "t.model"), Contains("t.model: "));
  CHECK_THROWS_WITH(scan_sentencepiece("\x0A\x03\x0A\x01\x61" + field, "t.model"),
                    Contains("its character map is damaged: a cell points behind the table"));
}

TEST_CASE("Loading names what was looked for") {
  const testing::TemporaryFolder folder;
  CHECK(try_load_tokenizer(folder.path()) == nullptr);
  CHECK_THROWS_WITH(load_tokenizer(folder.path()),
                    Contains("looked for tokenizer.json, tokenizer.model and tokenizer.bin"));
  CHECK_THROWS_WITH(load_tokenizer(folder.path() / "nowhere"), Contains("no such file or folder"));
  CHECK_THROWS_WITH(load_tokenizer(folder.write("vocab.txt", "a")), Contains("expected a file .json, .model or .bin"));
  folder.write("tokenizer.bin", testing::tiny_tokenizer_bin());
  CHECK(load_tokenizer(folder.path())->kind() == "llama2.c .bin");
  folder.write("tokenizer.model", testing::tiny_tokenizer_model());
  CHECK(load_tokenizer(folder.path())->kind() == "tokenizer.model (SentencePiece)");
  folder.write("tokenizer.json", testing::tiny_tokenizer_json(Base::kBytes, "{}"));
  CHECK(load_tokenizer(folder.path())->kind() == "tokenizer.json (BPE)");
}

TEST_CASE("BOS and EOS come from the files beside the tokenizer") {
  const testing::TemporaryFolder folder;
  folder.write("tokenizer.json", testing::tiny_tokenizer_json(Base::kMetaspace, "{}"));
  CHECK_FALSE(load_tokenizer(folder.path())->bos().has_value());
  folder.write("generation_config.json", R"({"bos_token_id": 1, "eos_token_id": [2, 300, -1]})");
  CHECK(load_tokenizer(folder.path())->eos() == std::vector<Token>{2, 300});
  CHECK(load_tokenizer(folder.path())->bos() == std::optional<Token>(1));
  folder.write("special_tokens_map.json", R"({"bos_token": {"content": "</s>"}, "eos_token": "<s>"})");
  CHECK(load_tokenizer(folder.path())->eos() == std::vector<Token>{1, 2, 300});
  folder.write("tokenizer_config.json",
               R"({"eos_token": {"__type": "AddedToken", "content": "</s>"}, "bos_token": null})");
  CHECK(load_tokenizer(folder.path())->eos() == std::vector<Token>{2, 300});
  CHECK(load_tokenizer(folder.path())->bos() == std::optional<Token>(2));
  folder.write("tokenizer_config.json", R"({"eos_token": "<none>"})");
  CHECK_THROWS_WITH(load_tokenizer(folder.path()), Contains("has no token \"<none>\""));
  folder.write("tokenizer_config.json", R"({"eos_token": 3})");
  CHECK_THROWS_WITH(load_tokenizer(folder.path()),
                    Contains("tokenizer_config.json: /eos_token: expected a string, found a number"));
}

TEST_CASE("add_bos_token and add_eos_token decide for the files that do not say") {
  for (const auto& [name, bytes] : {std::pair("tokenizer.bin", testing::tiny_tokenizer_bin()),
                                    std::pair("tokenizer.model", testing::tiny_tokenizer_model())}) {
    const testing::TemporaryFolder folder;
    folder.write(name, bytes);
    const EncodeOptions special{.add_special = true};
    const Tokens plain = load_tokenizer(folder.path())->encode("ab");
    Tokens with_bos = load_tokenizer(folder.path())->encode("ab", special);
    CHECK(with_bos.front() == 1);
    CHECK(Tokens(with_bos.begin() + 1, with_bos.end()) == plain);
    folder.write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true})");
    Tokens with_eos = load_tokenizer(folder.path())->encode("ab", special);
    CHECK(with_eos.back() == 2);
    CHECK(Tokens(with_eos.begin(), with_eos.end() - 1) == plain);
    CHECK(load_tokenizer(folder.path())->encode("<s>ab</s>").front() == 1);
    CHECK(load_tokenizer(folder.path())->encode("<s>ab</s>", {.parse_special = false}).front() != 1);
  }
}

}  // namespace
}  // namespace foretell
