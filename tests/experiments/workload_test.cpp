#include "experiments/workload/workload.h"

#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;

namespace {

Workload load_prompts(const std::string& yaml) { return load_workload(parse_yaml(yaml, "study.yaml"), ".", 100); }

}  // namespace

TEST_CASE("generated conversations come family by family with their right answers") {
  const Workload workload = load_prompts("{type: generated, families: [qa, arithmetic], count: 3}");
  REQUIRE(workload.conversations.size() == 6);
  CHECK(workload.tasks == std::vector<std::string>{"qa", "arithmetic"});
  CHECK(workload.conversations[0].id == "qa-heldout-0");
  CHECK(workload.conversations[1].id == "arithmetic-heldout-0");
  CHECK(workload.conversations[2].id == "qa-heldout-1");
  CHECK(workload.chat_template == "chatml");
  for (const Conversation& conversation : workload.conversations)
    for (const Turn& turn : conversation.turns) {
      CHECK_FALSE(turn.text.empty());
      CHECK(turn.answer.has_value());
    }
  CHECK(load_prompts("{type: generated}").tasks.size() == 6);
  CHECK(load_prompts("{type: generated, limit: 12}").conversations.size() == 12);
  CHECK(load_prompts("{type: generated, from: 5, count: 1, families: [qa]}").conversations[0].id == "qa-heldout-5");
  CHECK(load_prompts("{type: generated, split: train, count: 1, families: [qa]}").conversations[0].id == "qa-train-0");
}

TEST_CASE("an unknown family or setting is refused with its place and the nearest name") {
  CHECK_THROWS_WITH(load_prompts("{type: generated, families: [arithmetics]}"),
                    Catch::Matchers::Contains("study.yaml:1") && Catch::Matchers::Contains("arithmetic"));
  CHECK_THROWS_WITH(load_prompts("{type: generated, fillers: 3}"), Catch::Matchers::Contains("fillers"));
  CHECK_THROWS_WITH(load_prompts("{type: generated, split: test}"), Catch::Matchers::Contains("heldout"));
}

TEST_CASE("benchmarks whose files have a fixed layout are read by path; GSM8K's answers are the last numbers") {
  const testing::TemporaryFolder folder;
  const auto workload = [&](const std::string& type, const std::string& lines) {
    const auto file = folder.write(type + ".jsonl", lines);
    return load_prompts("{type: " + type + ", file: " + file.string() + "}");
  };
  const Workload maths =
      workload("gsm8k", R"({"question": "How many?", "answer": "He has 3 * 400 = <<3*400=1200>>1200.\n#### 1,200"})");
  REQUIRE(maths.conversations.size() == 1);
  const Turn& turn = maths.conversations[0].turns[0];
  CHECK(turn.answer == "1200");
  CHECK(turn.is_right("so there are 1,200 apples."));
  CHECK_FALSE(turn.is_right("1200 and then 1201"));
  CHECK_FALSE(turn.is_right("none"));
  CHECK(maths.tasks == std::vector<std::string>{"gsm8k"});
  CHECK_THROWS_WITH(workload("gsm8k", R"({"question": "q", "answer": "twelve"})"), Catch::Contains("####"));
  const Workload code = workload("humaneval", R"({"task_id": "HumanEval/0", "prompt": "def f():\n"})");
  CHECK(code.conversations[0].id == "HumanEval/0");
  CHECK(code.max_new_tokens == 512);
  const Workload talk = workload("mt_bench", R"({"question_id": 81, "category": "writing", "turns": ["a", "b"]})");
  CHECK(talk.conversations[0].turns.size() == 2);
  CHECK(talk.tasks == std::vector<std::string>{"writing"});
  CHECK(load_prompts("{type: prompts, prompts: [a], prompt_tokens: 8}").prompt_tokens == 8);
}
