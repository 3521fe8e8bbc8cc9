#include "framework/datasets/prompts.h"

#include <map>
#include <numeric>

#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

TEST_CASE("Prompts: every spelling, blank lines, CRLF, no last newline") {
  const auto prompts = parse_prompts(
      "{\"question_id\": 81, \"category\": \"writing\", \"turns\": [\"a\", \"b\"]}\r\n\r\n  \n"
      "{\"prompt\": \"p\"}\n{\"task_id\": \"t/1\", \"text\": \"x\"}\n{\"id\": \"i\", \"question\": \"q\\n\"}",
      "f.jsonl");
  REQUIRE(prompts.size() == 4);
  CHECK((prompts[0].id == "81" && prompts[0].category == "writing" &&
         prompts[0].turns == std::vector<std::string>{"a", "b"}));
  CHECK((prompts[1].id == "4" && prompts[1].category.empty() && prompts[1].turns == std::vector<std::string>{"p"}));
  CHECK((prompts[2].id == "t/1" && prompts[2].turns == std::vector<std::string>{"x"}));
  CHECK((prompts[3].id == "i" && prompts[3].turns == std::vector<std::string>{"q\n"}));
}

TEST_CASE("Prompts: an Error names file and line") {
  const auto fails_with = [](const char* text, const char* message) {
    CHECK_THROWS_WITH(parse_prompts(text, "f.jsonl"), Catch::Contains(message));
  };
  fails_with("{\"prompt\": \"a\"}\n{\"prompt\": 3}\n", "f.jsonl:2: /prompt: expected a string, found a number");
  fails_with("{\"prompt\": \"a\"\n", "f.jsonl:1: not JSON");
  fails_with("\n[1]", "f.jsonl:2: expected one JSON object");
  fails_with("{\"x\": 1}", "f.jsonl:1: no prompt");
  fails_with("{\"turns\": []}", "f.jsonl:1: /turns: expected at least one turn");
  fails_with("{\"turns\": [\"a\", null]}", "f.jsonl:1: /turns/1: expected a string, found null");
  fails_with("{\"prompt\": \"\xFF\"}", "f.jsonl:1: not JSON");
  fails_with("{\"question_id\": 99999999999999999999, \"prompt\": \"a\"}",
             "f.jsonl:1: /question_id: expected an integer");
  fails_with("\n\n", "f.jsonl: holds no prompt");
  fails_with(("{\"prompt\": " + std::string(100'000, '[') + "}").c_str(), "f.jsonl:1: nesting");
  CHECK_THROWS_WITH(read_prompts("/does/not/exist.jsonl"), Catch::Contains("/does/not/exist.jsonl: cannot be opened"));
}

TEST_CASE("Answers are written in FastChat's layout and read back") {
  AnswerRow row;
  row.question_id = "81";
  row.category = "writing";
  row.answer_id = "x1";
  row.model_id = "m";
  row.turns = {"one\n\"quoted\"", "two"};
  row.decoding_steps = {3, 4};
  row.new_tokens = {5, 6};
  row.wall_time = {0.5, 0.25};
  row.accept_lengths = {1, 2, 2, 3};
  row.tstamp = 12.5;
  const std::string line = to_json_line(row);
  CHECK(line ==
        "{\"question_id\":81,\"category\":\"writing\",\"answer_id\":\"x1\",\"model_id\":\"m\",\"choices\":[{\"index\":"
        "0,\"turns\":["
        "\"one\\n\\\"quoted\\\"\",\"two\"],"
        "\"decoding_steps\":[3,4],\"new_tokens\":[5,6],\"wall_time\":[0.5,0.25],\"accept_lengths\":[1,2,2,3]}],"
        "\"tstamp\":12.5}\n");
  const auto rows = parse_answers(line + line, "a.jsonl");
  REQUIRE(rows.size() == 2);
  CHECK(to_json_line(rows[1]) == line);
  row.turns = {"cut in a character \xE2\x82"};  // must not lose the row
  CHECK(parse_answers(to_json_line(row), "a.jsonl")[0].turns[0] == "cut in a character \xEF\xBF\xBD");
}

TEST_CASE("Answers: an Error names file and line") {
  const auto fails_with = [](const char* text, const char* message) {
    CHECK_THROWS_WITH(parse_answers(text, "a.jsonl"), Catch::Contains(message));
  };
  fails_with("{\"question_id\": 1, \"choices\": []}", "a.jsonl:1: /choices: expected more than 0 entries, found 0");
  fails_with("{\"question_id\": 1}", "a.jsonl:1: key 'choices' is missing");
  fails_with("{\"question_id\": 1, \"choices\": [{\"turns\": [\"a\"], \"accept_lengths\": [-1]}]}",
             "a.jsonl:1: /choices/0/accept_lengths/0: -1 is not a count");
}

TEST_CASE("Spec-Bench's categories belong to six tasks") {
  CHECK(spec_bench_task("humanities") == "mt_bench");
  CHECK(spec_bench_task("math") == "mt_bench");
  CHECK(spec_bench_task("math_reasoning") == "math_reasoning");
  CHECK(spec_bench_task("rag") == "rag");
}

TEST_CASE("Spec-Bench's questions and recorded answers read") {
  const auto questions = testing::data_file("data/specbench/question.jsonl");
  const auto vanilla = testing::data_file("data/specbench/answers_vicuna-7b-v1.3_vanilla_T0.jsonl");
  const auto drafted = testing::data_file("data/specbench/answers_vicuna-7b-v1.3_sps-68m_T0.jsonl");
  if (!questions || !vanilla || !drafted) return;
  std::map<std::string, int> tasks;
  for (const Prompt& prompt : read_prompts(*questions)) ++tasks[spec_bench_task(prompt.category)];
  CHECK(tasks == std::map<std::string, int>{{"mt_bench", 80},
                                            {"translation", 80},
                                            {"summarization", 80},
                                            {"qa", 80},
                                            {"math_reasoning", 80},
                                            {"rag", 80}});
  CHECK(read_answers(*vanilla).size() == 480);
  std::size_t rounds = 0;
  double tokens = 0;
  for (const AnswerRow& row : read_answers(*drafted)) {
    rounds += row.accept_lengths.size();
    tokens = std::accumulate(row.accept_lengths.begin(), row.accept_lengths.end(), tokens);
  }
  CHECK(rounds == 40632);
  CHECK(tokens / static_cast<double>(rounds) == Approx(2.278).margin(0.0005));
}

}  // namespace
}  // namespace foretell
