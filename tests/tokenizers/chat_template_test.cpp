#include "framework/chat/chat_template.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

const std::vector<Message> kTwoTurns = {{"user", "one"}, {"assistant", "two"}, {"user", "three"}};

std::string after_system(const std::string& text) { return text.substr(text.find("USER:")); }

TEST_CASE("Vicuna: a space behind the user's turn, EOS behind the assistant's, nothing between EOS and the next turn") {
  const ChatTemplate& vicuna = ChatTemplate::get("vicuna");
  const std::string text = vicuna.render(kTwoTurns, true);
  CHECK(after_system(text) == "USER: one ASSISTANT: two</s>USER: three ASSISTANT:");
  CHECK(text.starts_with("A chat between"));
  CHECK(text[text.find("USER:") - 1] == ' ');
  const std::vector<Message> own = {{"system", "S."}, {"user", "u"}};
  CHECK(vicuna.render(own, true) == "S. USER: u ASSISTANT:");
  CHECK(vicuna.stop_strings().empty());
}

TEST_CASE("Llama-3 and ChatML: each turn in its markers") {
  const ChatTemplate& llama = ChatTemplate::get("llama-3");
  const auto turn = [](const std::string& role, const std::string& text) {
    return "<|start_header_id|>" + role + "<|end_header_id|>\n\n" + text + "<|eot_id|>";
  };
  CHECK(llama.render(kTwoTurns, true) == "<|begin_of_text|>" + turn("user", "one") + turn("assistant", "two") +
                                             turn("user", "three") +
                                             "<|start_header_id|>assistant<|end_header_id|>\n\n");
  const std::vector<Message> padded = {{"user", "  one\n"}};
  CHECK(llama.render(padded, false) == "<|begin_of_text|>" + turn("user", "one"));
  CHECK(ChatTemplate::get("chatml").render(kTwoTurns, true) ==
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|"
        "im_start|>assistant\n");
  CHECK(ChatTemplate::get("none").render(kTwoTurns, true) == "onetwothree");
}

TEST_CASE("A wrong template or role is an Error that lists what is known") {
  CHECK_THROWS_WITH(ChatTemplate::get("vicunna"),
                    Catch::Contains("did you mean 'vicuna'") && Catch::Contains("chatml"));
  const std::vector<Message> wrong = {{"tool", "x"}};
  CHECK_THROWS_WITH(ChatTemplate::get("chatml").render(wrong, true), Catch::Contains("'tool'"));
  const std::vector<Message> late = {{"user", "x"}, {"system", "y"}};
  CHECK_THROWS_AS(ChatTemplate::get("vicuna").render(late, true), Error);
}

TEST_CASE("BOS stands once, whether the tokenizer or the template has it") {
  const auto with_bos = parse_tokenizer_json(
      testing::tiny_tokenizer_json(testing::Base::kBytes,
                                   R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"added_tokens":[
        {"id":272,"content":"<|begin_of_text|>","special":true},{"id":273,"content":"<|eot_id|>","special":true}],
        "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|begin_of_text|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
        {"SpecialToken":{"id":"<|eot_id|>","type_id":0}}],"special_tokens":{"<|begin_of_text|>":{"ids":[272]},"<|eot_id|>":{"ids":[273]}}}})"),
      "tokenizer.json");
  for (const char* name : {"llama-3", "chatml", "vicuna", "none"}) {
    const Tokens ids = encode_prompt(*with_bos, ChatTemplate::get(name), kTwoTurns);
    INFO(name);
    CHECK(ids.front() == 272);
    CHECK(std::count(ids.begin(), ids.end(), 272) == 1);
    CHECK(ids.back() != 273);  // the answer is to follow
  }
  const auto stops = ChatTemplate::get("llama-3").stop_tokens(*with_bos);
  CHECK(stops == std::vector<Token>{273});
}

TEST_CASE("Vicuna with Llama-2's tokenizer: the second turn continues the first one's ids") {
  const auto file = testing::data_file("data/tokenizers/llama2_tokenizer.model");
  if (!file) return;
  const auto tokenizer = load_tokenizer(*file);
  const ChatTemplate& vicuna = ChatTemplate::get("vicuna");
  const Tokens first = encode_prompt(*tokenizer, vicuna, std::vector<Message>{{"user", "one"}});
  const Tokens second = encode_prompt(*tokenizer, vicuna, kTwoTurns);
  REQUIRE(second.size() > first.size());
  CHECK(std::equal(first.begin(), first.end(), second.begin()));
  const Token bos = 1, eos = 2;
  CHECK(first.front() == bos);
  CHECK(std::count(second.begin(), second.end(), bos) == 1);
  CHECK(std::count(second.begin(), second.end(), eos) == 1);
  const auto end_of_answer = std::find(second.begin(), second.end(), eos);
  CHECK(Tokens(second.begin() + static_cast<std::ptrdiff_t>(first.size()), end_of_answer) == tokenizer->encode("two"));
  CHECK(Tokens(end_of_answer + 1, second.end()) == tokenizer->encode("USER: three ASSISTANT:"));
  CHECK(tokenizer->id_to_token(first.back()) == ":");
}

}  // namespace
}  // namespace foretell
