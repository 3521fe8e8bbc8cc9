// A model's own chat template is recognised where it renders as a known one does, and not otherwise.
#include "framework/chat/own_template.h"

#include "framework/chat/jinja.h"
#include "framework/core/error.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using Bos = ChatTemplate::Bos;

const std::string kTurn = "'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'";
const std::string kPrompt = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const std::string kChatml = "{% for message in messages %}{{ " + kTurn + " }}{% endfor %}" + kPrompt;

std::optional<ChatTemplate> recognised(const std::string& text, const std::string& eos = "</s>") {
  return recognise_template(text, eos);
}

std::string name_of(const std::string& text) {
  const auto found = recognised(text);
  return found ? found->name() : "";
}

TEST_CASE("ChatML is recognised however it is written") {
  const auto found = recognised(kChatml);
  REQUIRE(found);
  CHECK(found->name() == "chatml");
  CHECK(found->bos() == Bos::NotWritten);
  CHECK_FALSE(found->default_system());
  CHECK(recognised("{{ bos_token }}" + kChatml)->bos() == Bos::Written);
  CHECK(name_of("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" +
                kChatml) == "chatml");
  CHECK(name_of("{#- a comment -#}\n{%- for m in messages -%}\n  <|im_start|>{{ m.role }}\n{{ m.content -}}\n  {{ "
                "'<|im_end|>\\n' }}\n{%- "
                "endfor %}\n"
                "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant' ~ \"\\n\" }}\n{%- endif %}") ==
        "chatml");
  CHECK(name_of("{% for message in messages %}{% if message.role == 'user' %}{{ '<|im_start|>user\\n' + "
                "message.content + '<|im_end|>\\n' }}"
                "{% elif message.role in tools %}x{% elif message['role'] == 'assistant' %}{% generation %}{{ " +
                kTurn + " }}{% endgeneration %}{% else %}{{ " + kTurn +
                " }}{% endif %}{% endfor %}<|im_start|>assistant\n{{ '' }}") == "");
  CHECK(name_of("{% for message in messages %}{% if message.role == 'user' %}{{ '<|im_start|>user\\n' + "
                "message.content + '<|im_end|>\\n' }}"
                "{% else %}{{ " +
                kTurn +
                " }}{% endif %}{% endfor %}{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}") ==
        "chatml");
}

TEST_CASE("a system message that a template brings along is kept") {
  const std::string guard =
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
      "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}{{ " +
      kTurn + " }}{% endfor %}" + kPrompt;
  const auto found = recognised(guard);
  REQUIRE(found);
  CHECK(found->default_system() == "Be kind.");
  const std::vector<Message> user = {{"user", "u"}}, both = {{"system", "s"}, {"user", "u"}};
  CHECK(found->render(user, true) ==
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n");
  CHECK(found->render(both, true) == ChatTemplate::get("chatml").render(both, true));
  // With tools in a branch that is never run, whatever it holds.
  const std::string tools =
      "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson(indent=2) }}{%- endfor %}"
      "{%- set x %}y{% endset %}{%- macro f(a, b=1) %}z{%- endmacro %}{%- else %}"
      "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' "
      "}}"
      "{%- else %}{{- '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{%- endif %}{%- endif %}"
      "{%- for message in messages %}{%- if (message.role == \"user\") or (message.role == \"system\" and not "
      "loop.first) or "
      "(message.role == \"assistant\" and not message.tool_calls) %}{{- " +
      kTurn +
      " }}"
      "{%- elif message.role == \"assistant\" %}{{- message.tool_calls[0].x.y }}{%- endif %}{%- endfor %}" +
      kPrompt;
  REQUIRE(recognised(tools));
  CHECK(recognised(tools)->default_system() == "Be kind.");
}

TEST_CASE("what renders otherwise is not recognised") {
  for (const std::string& other :
       {std::string(""), std::string("{{ messages }}"), std::string("{% for"), kChatml + "x",
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + "
        "'<|im_end|>' + '\\n' }}{% "
        "endfor %}" +
            kPrompt,
        "{% for message in messages if message.role != 'system' %}{{ " + kTurn + " }}{% endfor %}" + kPrompt,
        "{% for message in messages %}{% if '</think>' in message.content %}{% endif %}{{ " + kTurn +
            " }}{% endfor %}" + kPrompt,
        "{% for message in messages %}{% if not message.content %}{{ raise_exception('empty') }}{% endif %}{{ " +
            kTurn + " }}{% endfor %}" + kPrompt,
        "{% for message in messages %}{% if loop.index0 == 4 %}!{% endif %}{{ " + kTurn + " }}{% endfor %}" + kPrompt,
        "{% for message in messages[1:] %}{{ " + kTurn + " }}{% endfor %}" + kPrompt,
        "{% for message in messages %}{{ " + kTurn + " }}{% endfor %}{{ '<|im_start|>assistant\\n<think>' }}",
        "{{ strftime_now('%d') }}" + kChatml,
        "{% for message in messages %}{{ bos_token + " + kTurn + " }}{% endfor %}" + kPrompt}) {
    INFO(other);
    CHECK(name_of(other).empty());
  }
}

TEST_CASE("Llama-3's and Vicuna's are recognised, BOS and EOS as they write them") {
  const std::string llama =
      "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
      "message['role'] + "
      "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content "
      "= bos_token + "
      "content %}{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}";
  REQUIRE(recognised(llama));
  CHECK((recognised(llama)->name() == "llama-3" && recognised(llama)->bos() == Bos::Written &&
         !recognised(llama)->starts_with_bos()));
  const std::string spelled =
      "{{ '<|begin_of_text|>' }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
      "'<|end_header_id|>\\n\\n' + "
      "message['content'].strip() + '<|eot_id|>' }}{% endfor %}{{ "
      "'<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}";
  REQUIRE(recognised(spelled));
  CHECK((recognised(spelled)->starts_with_bos() && recognised(spelled)->bos() == Bos::NotWritten));

  const std::string vicuna =
      "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] "
      "%}{% else %}"
      "{% set rest = messages %}{% set system = 'Answer.' %}{% endif %}{{ system + ' ' }}{% for message in rest %}"
      "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}{% else %}"
      "{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}{{ 'ASSISTANT:' }}";
  REQUIRE(recognised(vicuna));
  CHECK((recognised(vicuna)->name() == "vicuna" && recognised(vicuna)->default_system() == "Answer."));
  CHECK_FALSE(recognised(vicuna, "<|end|>"));
}

TEST_CASE("the subset of Jinja renders as Transformers does, or not at all") {
  const std::vector<Message> messages = {{"user", " a "}, {"assistant", "b"}, {"user", "c"}};
  const auto rendered = [&](const std::string& text) {
    return render_jinja(text, {.messages = messages, .bos_token = "<s>", .eos_token = "</s>"});
  };
  CHECK(rendered("a{{ 'x' }} \n{% if true %}\n  {% set y = 'q' %}\n{{ y }}\n{% endif %}\nend\n") ==
        "a"
        "x \nq\nend");
  CHECK(rendered("{%- for m in messages -%} {{ loop.index ~ '' }}{%- endfor -%}") == std::nullopt);
  CHECK(rendered("{% for m in messages %}{{ loop.index }}{{ ',' if not loop.last else '.' }}{% endfor %}") == "1,2,3.");
  CHECK(rendered("{% for m in messages %}{% set x = m.role %}{% endfor %}{{ x }}|{{ nothing }}") == "|");
  CHECK(rendered("{{ messages[-1].content + messages[0]['content'] | trim }}{{ messages | length }}") == "ca3");
  CHECK(rendered("{{ 'a' if nothing is defined and nothing.x.y(1, z=2) | f(3) is odd else ('b' or "
                 "unknown_function('x')) }}") == "b");
  CHECK(rendered("{{ '}}' }}{# {{ #}{{ \"it's\" }}{{ 'a\\'b' }}") == "}}it'sa'b");
  CHECK(rendered("{%+ if true +%}\nx{% endif %}") == "\nx");
  for (const char* bad :
       {"{{", "{% if %}", "{% if true %}", "{% endif %}", "{{ 'a }}", "{{ (1 }}", "{{ 1 + }}", "{{ -x }}",
        "{% set = 1 %}", "{% for %}{% endfor %}", "{% include 'x' %}", "{{ messages[9].role }}", "{{ '\\x' }}",
        "{% else %}", "{% for x in 3 %}{% endfor %}", "{{ [1] }}"})
    CHECK(rendered(bad) == std::nullopt);
}

TEST_CASE("white space is Python's, a newline is one however it is written, and a test has no test") {
  const std::vector<Message> messages = {{"user", "\xC2\xA0\xE3\x80\x80 a\xC2\x85\x1C"}};
  const auto rendered = [&](const std::string& text) {
    return render_jinja(text, {.messages = messages, .bos_token = "", .eos_token = ""});
  };
  CHECK(rendered("{{ messages[0].content | trim }}|{{ messages[0].content.strip() }}") == "a|a");
  CHECK(rendered("x\r\n{% if true %}\r\ny{% endif %}\rz\r\n") == "x\nyz");
  CHECK(rendered("x\n\xC2\xA0{% if true %}y{% endif %}\xC2\xA0{{- 'z' }}") == "x\nyz");
  CHECK(rendered("{{ 'x' if nothing is not none is defined }}") == std::nullopt);
  const std::vector<Message> bad = {{"user", "\xFF a\xC2"}};
  CHECK(render_jinja("{{ messages[0].content | trim }}", {.messages = bad, .bos_token = "", .eos_token = ""}) ==
        "\xFF a\xC2");
  CHECK(ChatTemplate::get("llama-3").render(messages, false) ==
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>");
}

TEST_CASE("what is not understood is named") {
  const std::vector<Message> messages = {{"user", "a"}};
  const auto why = [&](const std::string& text) {
    std::string construct;
    CHECK(render_jinja(text, {.messages = messages, .bos_token = "", .eos_token = ""}, {}, &construct) == std::nullopt);
    return construct;
  };
  CHECK(why("{% set ns = namespace(x=1) %}") == "the function 'namespace'");
  CHECK(why("{{ raise_exception('no') }}") == "the function 'raise_exception'");
  CHECK(why("{{ messages | tojson }}") == "the filter 'tojson'");
  CHECK(why("{{ 'a'.split('b') }}") == "the method 'split'");
  CHECK(why("{% if 'x' in messages %}{% endif %}") == "the operator 'in'");
  CHECK(why("{% if 1 % 2 == 0 %}{% endif %}") == "'%' in an expression");
  CHECK(why("{% if 1 is even %}{% endif %}") == "the test 'even'");
  CHECK(why("{% for m in messages[::-1] %}{% endfor %}") == "':' in an expression");
  CHECK(why("{% macro f() %}{% endmacro %}") == "the block 'macro'");
  CHECK(why("{% include 'x' %}") == "the statement 'include'");
  CHECK(why("{% if true %}") == "a block that is not closed");
  std::string construct;
  CHECK_FALSE(recognise_template("{{ strftime_now('%d') }}", "", &construct));
  CHECK(construct == "the function 'strftime_now'");
}

TEST_CASE("a hostile template is bounded") {
  const std::vector<Message> messages = {{"user", "a"}};
  const auto rendered = [&](const std::string& text) {
    return render_jinja(text, {.messages = messages, .bos_token = "", .eos_token = ""});
  };
  const auto repeated = [](const std::string& part, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += part;
    return out;
  };
  CHECK(rendered(repeated("a", 1 << 20)) == std::nullopt);
  CHECK(rendered("{{ " + repeated("(", 10000) + "1" + repeated(")", 10000) + " }}") == std::nullopt);
  CHECK(rendered(repeated("{% if true %}", 10000)) == std::nullopt);
  CHECK(rendered("{{ " + repeated("not ", 100000) + "1 }}") == std::nullopt);
  CHECK(rendered("{% set x = 'aaaaaaaa' %}" + repeated("{% set x = x + x %}", 40)) == std::nullopt);
  CHECK(rendered("{{ " + repeated("1 if 1 else (", 40) + "1" + repeated(")", 40) + " }}") !=
        std::optional<std::string>("0"));
}

TEST_CASE("a template is found in its own file, in the configuration, or in a list") {
  const testing::TemporaryFolder folder;
  CHECK_FALSE(find_own_template(folder.path()));
  folder.write("tokenizer_config.json", R"({"eos_token": "x"})");
  CHECK_FALSE(find_own_template(folder.path()));
  folder.write("tokenizer_config.json",
               R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  CHECK(find_own_template(folder.path())->text == "D");
  folder.write("chat_template.jinja", "J");
  CHECK(find_own_template(folder.path())->text == "J");
  CHECK_THAT(find_own_template(folder.path())->file, Contains("chat_template.jinja"));
  CHECK(parse_own_template(R"({"chat_template": null})", "t.json") == std::nullopt);
  CHECK(parse_own_template(R"({"chat_template": [{"name": "tool_use", "template": "T"}]})", "t.json") == std::nullopt);
  CHECK_THROWS_WITH(parse_own_template(R"({"chat_template": 7})", "t.json"),
                    Contains("t.json: /chat_template: expected a string"));
  CHECK_THROWS_WITH(parse_own_template(R"({"chat_template": [{"name": "default"}]})", "t.json"),
                    Contains("'template' is missing"));
  CHECK_THROWS_WITH(parse_own_template("[]", "t.json"), Contains("expected an object"));
}

TEST_CASE("BOS is written where a model's own template writes it, and nowhere else") {
  SpecialTokenSettings settings;
  settings.bos = "<s>";
  const auto tokenizer = parse_tokenizer_json(
      testing::tiny_tokenizer_json(testing::Base::kBytes,
                                   R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"added_tokens":[
        {"id":272,"content":"<s>","special":true}],"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
        {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"ids":[272]}}}})"),
      "tokenizer.json", settings);
  const std::vector<Message> user = {{"user", "u"}};
  const auto starts_with_bos = [&](const ChatTemplate& chat) {
    return encode_prompt(*tokenizer, chat, user).front() == 272;
  };
  CHECK(starts_with_bos(ChatTemplate::get("chatml")));  // by its name: as the tokenizer does it for any text
  CHECK_FALSE(starts_with_bos(*recognised(kChatml)));
  CHECK(starts_with_bos(*recognised("{{ bos_token }}" + kChatml)));
  const Tokens written = encode_prompt(*tokenizer, *recognised("{{ bos_token }}" + kChatml), user);
  CHECK(std::count(written.begin(), written.end(), 272) == 1);
}

}  // namespace
}  // namespace foretell
