#include "experiments/results/record_reader.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

#include "experiments/results/record_json.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using Json = nlohmann::ordered_json;

constexpr const char* kCell = "0123456789abcdef";
constexpr const char* kOther = "fedcba9876543210";

struct Lines {
  std::vector<std::string> generations, rounds;

  RecordsRead read(const RecordOwner& owner = {}) const {
    const auto joined = [](const std::vector<std::string>& lines) {
      std::string out;
      for (const std::string& line : lines) out += line;
      return std::istringstream(out);
    };
    std::istringstream first = joined(generations), second = joined(rounds);
    return read_records(first, second, "cell", owner);
  }
};

// Two prompts, method and baseline, with three rounds each.
Lines written() {
  Lines out;
  for (const char* prompt : {"one", "two"}) {
    for (const PipelineVariant arm : {PipelineVariant::Method, PipelineVariant::Baseline}) {
      GenerationRecord record{.conversation = prompt, .category = "c", .task = "t", .arm = arm, .prompt_tokens = 4};
      record.tokens = {5, 6, 7, 8, 9, 10};
      record.finish = "length";
      for (int i = 0; i < 3; ++i)
        record.rounds.push_back(
            {.drafted = 2, .scored = 3, .depth = 2, .accepted = 1, .emitted = 2, .ns = {i, 2, 3, 4}});
      for (int i = 0; i < 3; ++i) out.rounds.push_back(to_line(round_json(record, i)));
      out.generations.push_back(sealed_line(generation_json(record), kCell, record.rounds.size(), round_lines(record)));
    }
  }
  return out;
}

// As versions before the checksum wrote them.
Lines written_before() {
  Lines out = written();
  for (std::string& line : out.generations) {
    Json row = Json::parse(line);
    row.erase("cell");
    row.erase("rounds");
    row.erase("checksum");
    line = to_line(row);
  }
  return out;
}

std::string replaced(const std::string& line, const std::string& from, const std::string& to) {
  const std::size_t at = line.find(from);
  REQUIRE(at != std::string::npos);
  return std::string(line).replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("whole records are read, with a checksum of all of them") {
  const RecordsRead read = written().read();
  CHECK(read.damage.empty());
  REQUIRE(read.records.size() == 4);
  CHECK(read.records[0].rounds.size() == 3);
  CHECK(read.checksum.starts_with("xxh3:"));
  Lines shuffled = written();
  std::swap(shuffled.generations[0], shuffled.generations[3]);
  CHECK(shuffled.read().checksum == read.checksum);
  const RecordsRead before = written_before().read();
  CHECK(before.damage.empty());
  CHECK(before.records.size() == 4);
  CHECK(before.checksum.empty());
}

TEST_CASE("each round that is lost is told with its prompt, and the other prompts stay") {
  for (const Lines& whole : {written(), written_before()}) {
    for (std::size_t lost = 0; lost < whole.rounds.size(); ++lost) {
      Lines lines = whole;
      lines.rounds.erase(lines.rounds.begin() + static_cast<std::ptrdiff_t>(lost));
      const RecordsRead read = lines.read();
      REQUIRE(read.damage.size() == 1);
      CHECK(read.records.size() == 3);
      CHECK_THAT(read.damage[0], Contains(lost < 6 ? "prompt 'one'" : "prompt 'two'") &&
                                     Contains(lost % 6 < 3 ? "method" : "baseline") && Contains(".jsonl:") &&
                                     !Contains("\n"));
    }
  }
}

TEST_CASE("a gap is told where it is") {
  Lines lines = written();
  lines.rounds.erase(lines.rounds.begin() + 7);
  CHECK(lines.read().damage ==
        std::vector<std::string>{
            "cell/rounds.jsonl:8: prompt 'two', turn 0, repeat 0, method: round 1 is missing, the next one is 2"});
}

TEST_CASE("a changed number is seen by the checksum") {
  Lines lines = written();
  lines.rounds[1] = replaced(lines.rounds[1], "\"verify_ns\":3", "\"verify_ns\":4");
  lines.generations[3] = replaced(lines.generations[3], "\"prompt_tokens\":4", "\"prompt_tokens\":5");
  const RecordsRead read = lines.read();
  REQUIRE(read.damage.size() == 2);
  CHECK_THAT(read.damage[0], Contains("generations.jsonl:1: prompt 'one'") && Contains("checksum"));
  CHECK_THAT(read.damage[1], Contains("generations.jsonl:4: prompt 'two'") && Contains("checksum"));
  Lines before = written_before();
  before.rounds[1] = replaced(before.rounds[1], "\"emitted\":2", "\"emitted\":1");
  CHECK_THAT(before.read().damage.at(0), Contains("the rounds that are there emit 5 tokens, the answer has 6"));
}

TEST_CASE("what a kill leaves is no damage") {
  Lines lines = written();
  lines.generations.pop_back();  // its rounds are there
  lines.generations.push_back("{\"conversation\": \"tw");
  lines.rounds.push_back("{\"conv");
  const RecordsRead read = lines.read();
  CHECK(read.damage.empty());
  CHECK(read.records.size() == 3);
  CHECK(read.unanswered ==
        std::vector<std::string>{
            "cell/rounds.jsonl:10: prompt 'two', turn 0, repeat 0, baseline: its row in generations.jsonl is missing"});
}

TEST_CASE("an answer that is lost before others is damage with its prompt, also where its line cannot be read") {
  const std::string lost =
      "cell/rounds.jsonl:4: prompt 'one', turn 0, repeat 0, baseline: its row in generations.jsonl is missing";
  for (const Lines& whole : {written(), written_before()}) {
    Lines lines = whole;
    lines.generations.erase(lines.generations.begin() + 1);
    CHECK(lines.read().damage == std::vector<std::string>{lost});
    CHECK(lines.read().unanswered.empty());
    lines.generations.insert(lines.generations.begin() + 1, whole.generations[1].substr(0, 40) + "\n");
    const RecordsRead cut = lines.read();
    REQUIRE(cut.damage.size() == 2);
    CHECK(cut.damage[0] == lost);
    CHECK_THAT(cut.damage[1], Contains("cell/generations.jsonl:2: "));
  }
}

TEST_CASE("rows of another cell are damage, and so are rows without one where all have to name theirs") {
  CHECK(written().read({kCell, true}).damage.empty());
  CHECK(written().read({kCell, true}).sealed);
  CHECK_FALSE(written_before().read({kCell, false}).sealed);
  CHECK(written_before().read({kCell, false}).records.size() == 4);
  for (const bool named : {false, true}) {
    const RecordsRead read = written().read({kOther, named});
    CHECK(read.records.empty());
    REQUIRE(read.damage.size() == 4);
    CHECK(read.damage[0] ==
          "cell/generations.jsonl:1: prompt 'one', turn 0, repeat 0, method: is of the cell 0123456789abcdef, the "
          "folder of "
          "fedcba9876543210");
  }
  REQUIRE(written_before().read({kCell, true}).damage.size() == 4);
  CHECK_THAT(written_before().read({kCell, true}).damage[3],
             Contains("generations.jsonl:4: prompt 'two'") && Contains("names no cell"));
  Lines unsealed = written_before();
  Json row = Json::parse(unsealed.generations[0]);
  row["cell"] = kCell;
  unsealed.generations[0] = to_line(row);
  CHECK_THAT(unsealed.read({kCell, false}).damage.at(0),
             Contains("generations.jsonl:1: prompt 'one'") && Contains("has no checksum"));
  // Called another cell's by hand: the checksum is over the name.
  Lines renamed = written();
  for (std::string& line : renamed.generations) line = replaced(line, kCell, kOther);
  CHECK(renamed.read({kOther, true}).damage.size() == 4);
  CHECK_THAT(renamed.read({kOther, true}).damage[0], Contains("checksum"));
}

TEST_CASE("rows that are there twice are damage with their prompt") {
  Lines lines = written();
  lines.generations.push_back(lines.generations[0]);
  CHECK(lines.read().damage ==
        std::vector<std::string>{"cell/generations.jsonl:5: prompt 'one', turn 0, repeat 0, method: the answer is "
                                 "there twice, first in line 1"});
  CHECK(lines.read().records.size() == 3);
  lines = written();
  lines.rounds.push_back(lines.rounds[2]);
  CHECK(
      lines.read().damage ==
      std::vector<std::string>{"cell/rounds.jsonl:13: prompt 'one', turn 0, repeat 0, method: round 2 is there twice"});
  lines.rounds.back() = replaced(lines.rounds.back(), "\"score_ns\":2", "\"score_ns\":9");
  CHECK_THAT(lines.read().damage.at(0),
             Contains("rounds.jsonl:13: prompt 'one'") && Contains("two different rounds 2"));
  lines.rounds.pop_back();
  lines.generations.push_back(lines.generations[0]);
  lines.generations.back() = replaced(lines.generations.back(), "\"tokens\":[5,", "\"tokens\":[4,");
  CHECK_THAT(lines.read().damage.at(0),
             Contains("generations.jsonl:5: prompt 'one'") && Contains("two different answers"));
}

TEST_CASE("every key of every row with a value of another type is damage with file, line and key") {
  const std::vector<Json> wrong = {
      nullptr, true, -1, 1.5, 1e300, "x", Json::array(), Json::array({"a", nullptr}), Json::object(), {{"a", {1}}}};
  for (const bool of_rounds : {false, true}) {
    const Lines whole = written();
    const Json row = Json::parse(of_rounds ? whole.rounds[4] : whole.generations[1]);
    for (const auto& [key, value] : row.items()) {
      for (const Json& bad : wrong) {
        if (bad == value || (bad.is_string() && value.is_string())) continue;
        Lines lines = whole;
        Json changed = row;
        changed[key] = bad;
        (of_rounds ? lines.rounds[4] : lines.generations[1]) = to_line(changed);
        const RecordsRead read = lines.read();
        INFO(key << " = " << bad);
        // A row that is none leaves its own line, and where it was a round also the prompt that misses it; a null is
        // unknown, and the checksum tells.
        REQUIRE_FALSE(read.damage.empty());
        for (const std::string& damage : read.damage)
          CHECK_THAT(damage, Contains(".jsonl:") && !Contains("\n") && !Contains("json.exception"));
        CHECK(read.records.size() == 3);
      }
    }
  }
  Lines garbage = written();
  garbage.rounds[0] = "\xff\xfe\n";
  garbage.generations[2] = std::string(100000, '[') + "\n";
  const RecordsRead read = garbage.read();
  REQUIRE(read.damage.size() == 4);
  CHECK_THAT(read.damage[0], Contains("rounds.jsonl:2: prompt 'one'"));  // what names a prompt comes first
  CHECK_THAT(read.damage[1], Contains("rounds.jsonl:7: prompt 'two'"));
  CHECK_THAT(read.damage[2], Contains("generations.jsonl:3"));
  CHECK_THAT(read.damage[3], Contains("rounds.jsonl:1"));
}

}  // namespace foretell
