#include <algorithm>
#include <cstdlib>

#include "experiments/study/sweep.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "experiments/util/shell_quote.h"
#include "experiments/util/table.h"
#include "experiments/workload/workload.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;

TEST_CASE("tables count characters, align numbers to the right and leave no trailing blanks") {
  Table table({"<name", "value"});
  table.add({"größe", "1.0"});
  table.add_title("a title that is longer than the table");
  table.add({"b", "10.25"});
  CHECK(table.to_string() ==
        "name   value\n"
        "------------\n"
        "größe    1.0\n"
        "a title that is longer than the table\n"
        "b      10.25\n");
}

TEST_CASE("lists of numbers, and what is none") {
  CHECK(parse_ids("1 2,3", "--ids") == Tokens{1, 2, 3});
  CHECK(parse_ids("  ", "--ids").empty());
  CHECK_THROWS_WITH(parse_ids("1 -2", "--ids"), Catch::Contains("--ids") && Catch::Contains("'-2'"));
  CHECK_THROWS_WITH(parse_ids("99999999999", "--ids"), Catch::Contains("99999999999"));
  CHECK(parse_positive_list("1,2,4", "--rows") == std::vector<int>{1, 2, 4});
  CHECK_THROWS_WITH(parse_positive_list("1,0", "--rows"), Catch::Contains("'0'"));
  CHECK_THROWS_WITH(parse_positive_list("", "--rows"), Catch::Contains("--rows"));
  CHECK(parse_positive_list(" 1, 2 ,3 4\t", "--rows") == std::vector<int>{1, 2, 3, 4});
  for (const char* text : {"1,,2", ",1", "1,", "1, ,2", ","})
    CHECK_THROWS_WITH(parse_positive_list(text, "--rows"), Catch::Contains("--rows: an empty entry"));
  CHECK_THROWS_WITH(parse_ids("1,,2", "--ids"), Catch::Contains("--ids: an empty entry"));
  CHECK_THROWS_WITH(parse_tree("1,,2", "--tree"), Catch::Contains("--tree: an empty entry"));
  CHECK_THROWS_WITH(parse_positive_list("1,9", "--rows", 8), Catch::Contains("from 1 to 8") && Catch::Contains("'9'"));
  CHECK(parse_probabilities("0.5, 1", "--p") == std::vector<double>{0.5, 1});
  for (const char* text : {"1.5", "nan", "0.5x", "", "0.5,,1"})
    CHECK_THROWS_WITH(parse_probabilities(text, "--p"), Catch::Contains("--p"));
}

TEST_CASE("a count and its noun agree") {
  CHECK(counted(1, "thread") == "1 thread");
  CHECK(counted(0, "thread") == "0 threads");
  CHECK(counted(std::size_t{2}, "thread") == "2 threads");
  CHECK(counted(1, "batch", "batches") == "1 batch");
  CHECK(counted(3, "batch", "batches") == "3 batches");
}

TEST_CASE("a word that is copied into a shell comes out as the same bytes") {
  CHECK(shell_quoted("configs/studies/demo.yaml") == "configs/studies/demo.yaml");
  CHECK(shell_quoted("").size() == 2);
  const testing::TemporaryFolder folder;
  for (const std::string word : {"a b", "`id`", "$(id) $HOME", "it's", "a\\b\"c", "x;y&z|w>v", "*?[a]~!#",
                                 "two\nlines \\ and a 'tab\t", "gr\u00f6\u00dfe", "\x1b[31m"}) {
    const std::string quoted = shell_quoted(word);
    CHECK(quoted.find('\n') == std::string::npos);
    CHECK(quoted.find('\x1b') == std::string::npos);
    const auto script =
        folder.write("script", "printf '%s' " + quoted + " > '" + (folder.path() / "out").string() + "'\n");
    REQUIRE(std::system(("bash " + script.string()).c_str()) == 0);
    CHECK(testing::read_file(folder.path() / "out") == word);
  }
}

TEST_CASE("long lines are broken where the terminal ends, below their second column") {
  CHECK(wrapped_lines("  --name VALUE    one two three four\n", 30) ==
        "  --name VALUE    one two\n"
        "                  three four\n");
  CHECK(wrapped_lines("one two three\n\nfour\n", 8) == "one two\nthree\n\nfour\n");
  CHECK(wrapped_lines("  gr\u00f6\u00dfer als\n", 12) == "  gr\u00f6\u00dfer als\n");
  CHECK(wrapped_lines("    a_word_that_is_longer_than_the_terminal\n", 10) ==
        "    a_word_that_is_longer_than_the_terminal\n");
  CHECK(wrapped_lines("a very long line\n", 0) == "a very long line\n");
}

TEST_CASE("messages are one line") { CHECK(one_line("a\n  b\r\nc\n") == "a b c"); }

TEST_CASE("a cell of a table is one line without control characters, and as wide as it is printed") {
  Table table({"<name", "value"});
  table.add({"a\x1b[31m\nb", "1"});
  table.add_title("\xe2\x80\xae title");
  CHECK(table.to_string() ==
        "name          value\n"
        "-------------------\n"
        "a\\x1b[31m\\nb      1\n"
        "\\u{202e} title\n");
}

TEST_CASE("random prompts are the same for the same seed, in range, and repeat their n-grams") {
  const ConfigValue description = parse_yaml("{type: random_ids, count: 2, length: 64, seed: 3}", "test");
  const Workload a = load_workload(description, "", 50), b = load_workload(description, "", 50);
  REQUIRE(a.conversations.size() == 2);
  const Tokens& ids = a.conversations[0].turns[0].ids;
  CHECK(ids == b.conversations[0].turns[0].ids);
  CHECK(ids != a.conversations[1].turns[0].ids);
  CHECK(ids.size() == 64);
  CHECK(std::all_of(ids.begin(), ids.end(), [](Token t) { return t >= 0 && t < 50; }));
  const auto again = std::search(ids.begin() + 1, ids.end(), ids.begin(), ids.begin() + 3);
  CHECK(again != ids.end());
}

TEST_CASE("spec_bench reads questions, groups them by task and keeps categories") {
  const testing::TemporaryFolder folder;
  folder.write("q.jsonl",
               "{\"question_id\": 81, \"category\": \"writing\", \"turns\": [\"a\", \"b\"]}\n"
               "{\"question_id\": 161, \"category\": \"qa\", \"turns\": [\"c\"]}\n");
  const auto load = [&](const std::string& more) {
    return load_workload(parse_yaml("{type: spec_bench, file: q.jsonl" + more + "}", "study.yaml"), folder.path(), 100);
  };
  const Workload all = load("");
  CHECK(all.tasks == std::vector<std::string>{"mt_bench", "qa"});
  CHECK(all.max_new_tokens == 1024);
  CHECK(all.conversations[0].turns.size() == 2);
  CHECK(all.conversations[0].id == "81");
  CHECK(load(", categories: [mt_bench]").conversations.size() == 1);
  CHECK(load(", categories: [writing]").conversations.size() == 1);
  CHECK(load(", limit: 1").conversations.size() == 1);
  CHECK_THROWS_WITH(load(", categories: [writting]"),
                    Catch::Contains("study.yaml:1") && Catch::Contains("did you mean 'writing'"));
  CHECK_THROWS_WITH(load(", limt: 1"), Catch::Contains("did you mean 'limit'"));
}
