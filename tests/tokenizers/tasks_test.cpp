#include "framework/datasets/tasks.h"

#include <map>
#include <set>

#include "framework/core/error.h"
#include "framework/tokenizers/tokenizer.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/tokenizers/train_tokenizer.h"
#include "tests/support/catch.h"

using namespace foretell;

namespace {

std::vector<TaskExample> examples(std::string_view family, TaskSplit split, int count) {
  std::vector<TaskExample> all;
  for (int i = 0; i < count; ++i) all.push_back(make_task(family, {}, split, i));
  return all;
}

std::string prompts_of(const TaskExample& example) {
  std::string all;
  for (const TaskTurn& turn : example.turns) all += turn.prompt + "\n";
  return all;
}

// The task's words with each digit apart, as the tokenizer will see them.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c));
    if (c == ' ' || !letter) words.emplace_back();
    if (c != ' ') words.back() += c;
    if (c != ' ' && !letter) words.emplace_back();
  }
  std::erase(words, "");
  return words;
}

}  // namespace

TEST_CASE("A generated conversation is the same every time and depends on its number, seed and split") {
  for (const std::string_view family : task_families()) {
    const TaskExample once = make_task(family, {}, TaskSplit::Train, 7),
                      again = make_task(family, {}, TaskSplit::Train, 7);
    CHECK(prompts_of(once) == prompts_of(again));
    CHECK(once.id == std::string(family) + "-train-7");
    TaskSettings other;
    other.seed = 2;
    CHECK(prompts_of(make_task(family, other, TaskSplit::Train, 7)) != prompts_of(once));
    CHECK(prompts_of(make_task(family, {}, TaskSplit::Heldout, 7)) != prompts_of(once));
    CHECK(prompts_of(make_task(family, {}, TaskSplit::Train, 8)) != prompts_of(once));
    for (const TaskTurn& turn : once.turns) {
      CHECK_FALSE(turn.prompt.empty());
      CHECK_FALSE(turn.answer.empty());
    }
  }
}

TEST_CASE("No held-out conversation occurs in training, whatever the seeds") {
  for (const std::string_view family : task_families()) {
    std::set<std::string> heldout;
    for (const TaskExample& example : examples(family, TaskSplit::Heldout, 300)) heldout.insert(prompts_of(example));
    for (int seed = 1; seed <= 3; ++seed) {
      TaskSettings settings;
      settings.seed = seed;
      for (int i = 0; i < 1000; ++i)
        CHECK(heldout.count(prompts_of(make_task(family, settings, TaskSplit::Train, i))) == 0);
    }
  }
}

TEST_CASE("Answers are right where they can be computed another way") {
  for (const TaskExample& example : examples("arithmetic", TaskSplit::Train, 500)) {
    std::vector<int> numbers;
    const std::string& prompt = example.turns[0].prompt;
    for (std::size_t i = 0; i < prompt.size();) {
      if (!std::isdigit(static_cast<unsigned char>(prompt[i]))) {
        ++i;
        continue;
      }
      std::size_t length = 0;
      numbers.push_back(std::stoi(prompt.substr(i), &length));
      i += length;
    }
    REQUIRE(numbers.size() == 2);
    const bool product = prompt.find('*') != std::string::npos || prompt.find("boxes") != std::string::npos;
    const int right = product ? numbers[0] * numbers[1] : numbers[0] + numbers[1];
    CHECK(example.turns[0].answer.ends_with(" The answer is " + std::to_string(right) + "."));
  }
  for (const char* family : {"qa", "retrieval"})
    for (const TaskExample& example : examples(family, TaskSplit::Train, 100))
      for (const TaskTurn& turn : example.turns) {
        const std::string last = words_of(turn.answer).end()[-2];  // before the full stop
        CHECK(example.turns[0].prompt.find(last) != std::string::npos);
      }
}

TEST_CASE("The answer to a question about a person stands in the passage, once, and in other words than the question") {
  std::set<std::string> questions;
  for (const TaskExample& example : examples("qa", TaskSplit::Train, 200)) {
    const std::string& first = example.turns[0].prompt;
    const std::string passage = first.substr(0, first.find('\n'));
    for (const TaskTurn& turn : example.turns) {
      const std::size_t place = passage.find(turn.answer);
      REQUIRE(place != std::string::npos);
      CHECK(passage.find(turn.answer, place + 1) == std::string::npos);
      const std::string question = turn.prompt.substr(turn.prompt.find("Question: "));
      CHECK(question.find(words_of(turn.answer).end()[-2]) == std::string::npos);
      questions.insert(question.substr(0, 24));
    }
  }
  CHECK(questions.size() > 20);
}

TEST_CASE("Translation is one to one and knows both directions") {
  std::map<std::string, std::set<std::string>> seen;
  bool to_orric = false, to_velan = false;
  for (const TaskExample& example : examples("translation", TaskSplit::Train, 300)) {
    for (const TaskTurn& turn : example.turns) {
      to_orric |= turn.prompt.starts_with("Translate from Velan into Orric: ");
      to_velan |= turn.prompt.starts_with("Translate from Orric into Velan: ");
      const std::string source = turn.prompt.substr(turn.prompt.find(": ") + 2);
      CHECK(words_of(source).size() == words_of(turn.answer).size());
      seen[source].insert(turn.answer);
    }
  }
  CHECK(to_orric);
  CHECK(to_velan);
  for (const auto& [source, answers] : seen) CHECK(answers.size() == 1);
}

TEST_CASE("A bigram model fails every family: the prompt has to be read") {
  for (const std::string_view family : task_families()) {
    std::map<std::string, std::map<std::string, int>> counts;
    for (const TaskExample& example : examples(family, TaskSplit::Train, 3000))
      for (const TaskTurn& turn : example.turns) {
        std::string before = "<start>";
        for (const std::string& word : words_of(turn.answer)) {
          ++counts[before][word];
          before = word;
        }
        ++counts[before]["<end>"];
      }
    int exact = 0, total = 0;
    for (const TaskExample& example : examples(family, TaskSplit::Heldout, 200))
      for (const TaskTurn& turn : example.turns) {
        const std::vector<std::string> words = words_of(turn.answer);
        std::vector<std::string> guess;
        for (std::string at = "<start>"; guess.size() <= words.size();) {
          const auto& next = counts[at];
          at = std::max_element(next.begin(), next.end(), [](const auto& a, const auto& b) {
                 return a.second < b.second;
               })->first;
          if (at == "<end>") break;
          guess.push_back(at);
        }
        exact += guess == words;
        ++total;
      }
    INFO(family << ": " << exact << " of " << total);
    CHECK(exact * 20 < total);  // under one in twenty
  }
}

TEST_CASE("Larger settings make longer prompts") {
  TaskSettings settings;
  settings.filler_sentences = 60;
  settings.facts = 6;
  CHECK(make_task("retrieval", settings, TaskSplit::Train, 0).turns[0].prompt.size() >
        4 * make_task("retrieval", {}, TaskSplit::Train, 0).turns[0].prompt.size());
}

TEST_CASE("Easier settings make shorter prompts, and the easiest still leaves a choice") {
  const TaskSettings full;
  CHECK(full.eased(0).facts == 2);
  CHECK(full.eased(0).people == 2);
  CHECK(full.eased(0).filler_sentences == 0);
  CHECK(full.eased(1).filler_sentences == full.filler_sentences);
  CHECK(full.eased(1).largest_number == full.largest_number);
  TaskSettings tiny;
  tiny.facts = 1;  // easier than the easiest: stays
  CHECK(tiny.eased(0).facts == 1);
  for (const char* family : {"qa", "retrieval"}) {
    const auto length = [&](double difficulty) {
      std::size_t sum = 0;
      for (std::uint64_t i = 0; i < 20; ++i)
        sum += make_task(family, full.eased(difficulty), TaskSplit::Train, i).turns[0].prompt.size();
      return sum;
    };
    CHECK(length(0) < length(0.5));
    CHECK(length(0.5) < length(1));
  }
}

TEST_CASE("An unknown family is an error that lists the six") {
  CHECK_THROWS_WITH(make_task("arithmetics", {}, TaskSplit::Train, 0),
                    Catch::Matchers::Contains("arithmetics") && Catch::Matchers::Contains("did you mean 'arithmetic'"));
}

TEST_CASE("A match is exact but for blanks at the ends") {
  CHECK(exact_match(" The answer is 3.\n", "The answer is 3."));
  CHECK_FALSE(exact_match("The answer is 4.", "The answer is 3."));
  CHECK_FALSE(exact_match("", "The answer is 3."));
  CHECK(exact_match("  ", ""));
}

TEST_CASE("The last number of a text is read as people write it") {
  CHECK(last_number("so 1,250 apples.") == "1250");
  CHECK(last_number("3, 4 and -7.") == "-7");
  CHECK(last_number("it costs 2.50 dollars") == "2.50");
  CHECK(last_number("#### 42") == "42");
  CHECK(last_number("none at all").empty());
  CHECK(last_number("").empty());
  CHECK(last_number(",,,").empty());
}

TEST_CASE("A trained tokenizer gives back every text, keeps digits apart and learns frequent words") {
  std::vector<std::string> texts;
  for (const std::string_view family : task_families())
    for (const TaskExample& example : examples(family, TaskSplit::Train, 200))
      for (const TaskTurn& turn : example.turns) texts.push_back(turn.prompt + "\n" + turn.answer);
  const std::string json = train_tokenizer(texts, {1024, {"<|endoftext|>", "<|im_start|>"}});
  CHECK(json == train_tokenizer(texts, {1024, {"<|endoftext|>", "<|im_start|>"}}));
  const auto tokenizer = parse_tokenizer_json(json, "tokenizer.json");
  CHECK(tokenizer->vocab_size() == 1024);
  CHECK(tokenizer->token_to_id("<|im_start|>") == 1);
  for (const std::string& text :
       {texts[0], texts[500], std::string("Grüße, 世界! \t\n\r 123 a  b"), std::string("\xff\xfe")}) {
    const std::string valid = tokenizer->decode(tokenizer->encode(text));
    CHECK(tokenizer->decode(tokenizer->encode(valid)) == valid);
    if (text[0] != '\xff') CHECK(valid == text);
  }
  CHECK(tokenizer->encode("2048").size() == 4);
  CHECK(tokenizer->encode(" answer").size() == 1);
  CHECK(tokenizer->encode("<|im_start|>").size() == 1);
}

TEST_CASE("A tokenizer needs room for merges and something to read") {
  CHECK_THROWS_WITH(train_tokenizer({"text"}, {256, {}}), Catch::Matchers::Contains("no room for merges"));
  CHECK_THROWS_WITH(train_tokenizer({}, {300, {}}), Catch::Matchers::Contains("no text"));
}
