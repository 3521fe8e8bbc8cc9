// Real tokenizers, read by path from ${FORETELL_DATA}, against ids that other programs wrote down.
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/tokenizers/tokenizer.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::data_file;
using testing::read_file;

// llama.cpp's vocabulary tests: texts between separator lines, and one line of ids for each.
struct VocabTest {
  std::string text;
  Tokens ids;
};

std::vector<VocabTest> read_vocab_tests(const std::filesystem::path& inputs, const std::filesystem::path& outputs) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_file(inputs);
  std::istringstream lines(read_file(outputs));
  std::vector<VocabTest> tests;
  for (std::size_t begin = 0; begin <= texts.size();) {
    const std::size_t end = std::min(texts.find(separator, begin), texts.size());
    std::string line;
    std::getline(lines, line);
    std::istringstream numbers(line);
    VocabTest test{texts.substr(begin, end - begin), {}};
    for (Token id; numbers >> id;) test.ids.push_back(id);
    tests.push_back(std::move(test));
    begin = end + separator.size();
  }
  return tests;
}

void check_vocab_tests(const char* tokenizer_file, const char* vocab) {
  const auto file = data_file(tokenizer_file);
  const auto inputs = data_file(std::string("data/tokenizers/ggml-vocab-") + vocab + ".gguf.inp");
  const auto outputs = data_file(std::string("data/tokenizers/ggml-vocab-") + vocab + ".gguf.out");
  if (!file || !inputs || !outputs) return;
  const auto tokenizer = load_tokenizer(*file);
  const auto tests = read_vocab_tests(*inputs, *outputs);
  CHECK(tests.size() == 47);
  for (const VocabTest& test : tests) {
    INFO(test.text);
    CHECK(tokenizer->encode(test.text) == test.ids);
    CHECK(tokenizer->decode(test.ids) == test.text);
  }
}

TEST_CASE("GPT-2's tokenizer.json gives the ids of its 47 cases") {
  const auto file = data_file("golden/tokenizers/gpt-2/tokenizer.json"),
             cases = data_file("golden/tokenizers/gpt-2/cases.json");
  if (!file || !cases) return;
  const auto tokenizer = load_tokenizer(file->parent_path());
  CHECK(tokenizer->vocab_size() == 50257);
  const auto list = nlohmann::json::parse(read_file(*cases));
  CHECK(list.size() == 47);
  for (const auto& item : list) {
    INFO(item["text"]);
    CHECK(tokenizer->encode(item["text"].get<std::string>()) == item["ids"].get<Tokens>());
    CHECK(tokenizer->decode(item["ids"].get<Tokens>()) == item["text"].get<std::string>());
  }
}

TEST_CASE("llama.cpp's vocabulary tests: GPT-2") {
  check_vocab_tests("golden/tokenizers/gpt-2/tokenizer.json", "gpt-2");
}
TEST_CASE("llama.cpp's vocabulary tests: Llama-2 as SentencePiece") {
  check_vocab_tests("data/tokenizers/llama2_tokenizer.model", "llama-spm");
}
TEST_CASE("llama.cpp's vocabulary tests: Llama-2 as llama2.c's file") {
  check_vocab_tests("data/tokenizers/llama2_tokenizer.bin", "llama-spm");
}

TEST_CASE("Llama-2's two files differ only where the text holds their sign for a space") {
  const auto model_file = data_file("data/tokenizers/llama2_tokenizer.model"),
             bin_file = data_file("data/tokenizers/llama2_tokenizer.bin");
  const auto corpus = data_file("data/corpora/wmt_en_de_src-test.txt");
  if (!model_file || !bin_file || !corpus) return;
  const auto model = load_tokenizer(*model_file), bin = load_tokenizer(*bin_file);
  std::ifstream lines(*corpus);
  std::string line;
  for (int i = 0; i < 500 && std::getline(lines, line); ++i) {
    const Tokens ids = model->encode(line, {.add_special = true});
    CHECK(ids == bin->encode(line, {.add_special = true}));
    CHECK(ids.front() == 1);
    CHECK(model->decode(ids) == bin->decode(ids));
  }
  // SentencePiece reads U+2581 as a space; llama2.c's vocabulary has spaces instead and spells it in bytes.
  const std::string sign = "a\xE2\x96\x81z";
  CHECK(model->encode(sign) == model->encode("a z"));
  CHECK(bin->encode(sign) != model->encode(sign));
}

TEST_CASE("tok512.bin encodes as llama2.c does") {
  const auto file = data_file("data/weights/stories260K/tok512.bin"),
             expected = data_file("data/weights/EXPECTED.json");
  if (!file || !expected) return;
  const auto tokenizer = load_tokenizer(*file);
  CHECK(tokenizer->vocab_size() == 512);
  const auto document = nlohmann::json::parse(read_file(*expected));
  for (const auto& [text, ids] : document["tok512_encode"].items()) {
    CHECK(tokenizer->encode(text, {.add_special = true}) == ids.get<Tokens>());
    CHECK(tokenizer->decode(ids.get<Tokens>()) == text);
  }
}

TEST_CASE("GPT-NeoX's tokenizer.json reads and round-trips") {
  const auto packed = data_file("data/tokenizers/gpt_neox_20B_tokenizer.json.xz"),
             corpus = data_file("data/corpora/tinystories_sample.txt");
  if (!packed || !corpus) return;
  const testing::TemporaryFolder folder;
  const auto unpacked = folder.path() / "tokenizer.json";
  REQUIRE(std::system(("xz -dc '" + packed->string() + "' > '" + unpacked.string() + "'").c_str()) == 0);
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->vocab_size() == 50277);
  CHECK(tokenizer->encode("<|endoftext|>x") == Tokens{0, 89});
  CHECK(tokenizer->encode("<|endoftext|>", {.parse_special = false}).size() > 1);
  const std::string text = read_file(*corpus).substr(0, 20000);
  const Tokens ids = tokenizer->encode(text);
  CHECK(ids.size() < 6000);
  CHECK(tokenizer->decode(ids) == text);
  StreamDecoder stream(tokenizer);
  std::string joined;
  for (const Token id : ids) joined += stream.push(id);
  CHECK(joined + stream.finish() == text);
}

TEST_CASE("Every SentencePiece model of the data folder reads, encodes and decodes") {
  for (const char* name :
       {"llama2_tokenizer.model", "mistral_v1.model", "mistral_v3.model", "sentencepiece_test_model.model"}) {
    const auto file = data_file(std::string("data/tokenizers/") + name);
    if (!file) return;
    const auto tokenizer = load_tokenizer(*file);
    for (const std::string text : {"Hello world, this is a test.", "two words"})
      CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
    CHECK(tokenizer->bos() == std::optional<Token>(1));
    CHECK(tokenizer->eos() == std::vector<Token>{2});
  }
}

}  // namespace
}  // namespace foretell
