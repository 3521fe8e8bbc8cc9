// A summary beside its records: edited numbers, files of another cell, and folders of before.
#include "experiments/results/summary_check.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiments/report/study_folder.h"
#include "experiments/results/record_json.h"
#include "experiments/results/summary.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using Json = nlohmann::ordered_json;

constexpr const char* kFirstCell = "aaaaaaaaaaaaaaaa";
constexpr const char* kSecondCell = "bbbbbbbbbbbbbbbb";

std::vector<GenerationRecord> three_prompts() {
  std::vector<GenerationRecord> records;
  for (const char* prompt : {"one", "two", "three"}) {
    for (const PipelineVariant arm : {PipelineVariant::Method, PipelineVariant::Baseline}) {
      GenerationRecord record{.conversation = prompt, .category = "c", .task = "qa", .arm = arm, .prompt_tokens = 4};
      record.tokens = {5, 6, 7, 8};
      record.prefill_ns = 10;
      record.wall_ns = arm == PipelineVariant::Method ? 1000 : 1700;
      const int emitted = arm == PipelineVariant::Method ? 2 : 1;
      for (int i = 0; i < 4; i += emitted)
        record.rounds.push_back({.drafted = emitted - 1,
                                 .scored = emitted,
                                 .depth = emitted - 1,
                                 .accepted = emitted - 1,
                                 .emitted = emitted});
      records.push_back(std::move(record));
    }
  }
  return records;
}

// A study of two cells as a run leaves them, with equal records.
class SealedStudy {
 public:
  SealedStudy() {
    folder_.write("study.json",
                  Json({{"study", "s"},
                        {"cells", {{{"name", "x"}, {"hash", kFirstCell}}, {{"name", "y"}, {"hash", kSecondCell}}}}})
                      .dump());
    for (const std::string cell : {kFirstCell, kSecondCell}) {
      std::filesystem::create_directories(path(cell));
      write(cell, "manifest.json", Json({{"format", kResultsFormat}, {"cell_hash", cell}}));
      std::string generations, rounds;
      for (const GenerationRecord& record : three_prompts()) {
        generations += sealed_line(generation_json(record), cell, record.rounds.size(), round_lines(record));
        rounds += round_lines(record);
      }
      folder_.write(cell + "/generations.jsonl", generations);
      folder_.write(cell + "/rounds.jsonl", rounds);
      write(cell, "prediction.json",
            {{"num_speculative_tokens", 1},
             {"expected_acceptance_on_text", 0.5},
             {"expected_acceptance_on_output", 0.5}});
      Json made = {
          {"complete", true}, {"fold", to_json(FoldOptions{})}, {"tasks", to_json(fold(three_prompts(), {}), {})}};
      seal(cell, std::move(made));
    }
  }

  std::filesystem::path path(const std::string& cell) const { return folder_.path() / cell; }
  Json summary() const { return Json::parse(testing::read_file(path(kFirstCell) / "summary.json")); }
  void write(const std::string& cell, const std::string& name, const Json& content) {
    folder_.write(cell + "/" + name, content.dump(2));
  }
  // As the program itself does.
  void seal(const std::string& cell, Json summary) {
    summary.erase("checksum");
    seal_summary(summary, read_records(path(cell)), path(cell));
    write(cell, "summary.json", summary);
  }
  StudyFolder read() const { return read_study_folder(folder_.path()); }
  // Of a report's first cell, which shows no number; the other one is whole.
  std::string damage() const {
    const StudyFolder study = read();
    CHECK(study.cells[0].state == CellState::Damaged);
    CHECK(study.cells[0].overall() == nullptr);
    CHECK(study.cells[1].state == CellState::Complete);
    CHECK(study.cells[0].damage == damage_of(path(kFirstCell)));
    CHECK_THAT(study.cells[0].damage, Contains(kFirstCell) && !Contains("\n"));
    return study.cells[0].damage;
  }

 private:
  testing::TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("what a run has written is whole") {
  const SealedStudy written;
  const StudyFolder study = written.read();
  for (const ReportCell& cell : study.cells) {
    CHECK(cell.damage.empty());
    REQUIRE(cell.overall() != nullptr);
    CHECK(*cell.overall()->at("speedup") == Approx(1.7));
  }
}

TEST_CASE("every number of a summary that is edited is seen, by its checksum and without it") {
  SealedStudy written;
  const Json whole = written.summary();
  int edited = 0;
  const Json flat = whole.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (!value.is_number() || pointer.starts_with("/fold/seed") || pointer.starts_with("/records")) continue;
    Json changed = whole;
    changed[Json::json_pointer(pointer)] = value.get<double>() + 1;
    written.write(kFirstCell, "summary.json", changed);
    INFO(pointer);
    CHECK_THAT(written.damage(), Contains("summary.json: was changed after it was written"));
    if (!pointer.starts_with("/tasks")) continue;
    written.seal(kFirstCell, changed);
    CHECK_THAT(written.damage(),
               Contains("summary.json: " + pointer + " is ") && Contains("but the records beside it give"));
    ++edited;
  }
  CHECK(edited > 40);
  for (const auto& [pointer, value] :
       {std::pair<std::string, Json>{"/tasks/overall/verdict", "faster"}, {"/complete", false}, {"/added", 1}}) {
    Json changed = whole;
    changed[Json::json_pointer(pointer)] = value;
    written.write(kFirstCell, "summary.json", changed);
    CHECK_THAT(written.damage(), Contains("was changed after it was written"));
  }
  Json without = whole;
  without.erase("checksum");
  written.write(kFirstCell, "summary.json", without);
  CHECK_THAT(written.damage(), Contains("summary.json: has no checksum"));
  // Spelled in another way it is the same.
  without["checksum"] = whole["checksum"];
  std::ofstream(written.path(kFirstCell) / "summary.json") << without.dump();
  CHECK(damage_of(written.path(kFirstCell)).empty());
}

TEST_CASE("files that a summary vouches for are its own") {
  SealedStudy written;
  const std::filesystem::path prediction = written.path(kFirstCell) / "prediction.json";
  written.write(kFirstCell, "prediction.json", {{"num_speculative_tokens", 9}});
  CHECK_THAT(written.damage(), Contains("prediction.json: was changed after summary.json was written"));
  std::filesystem::remove(prediction);
  CHECK_THAT(written.damage(), Contains("prediction.json: is missing"));
  SealedStudy added;
  added.write(kFirstCell, "divergence.json", {{"differences", Json::array()}});
  CHECK_THAT(added.damage(), Contains("divergence.json: was changed"));
}

TEST_CASE("records and summary that are copied together from another cell are damage, and so is the summary alone") {
  const auto copied = [](const std::vector<const char*>& names) {
    SealedStudy written;
    for (const char* name : names)
      std::filesystem::copy(written.path(kSecondCell) / name, written.path(kFirstCell) / name,
                            std::filesystem::copy_options::overwrite_existing);
    return written.damage();
  };
  CHECK_THAT(copied({"generations.jsonl", "rounds.jsonl", "summary.json"}),
             Contains("generations.jsonl:1: prompt 'one'") &&
                 Contains("is of the cell bbbbbbbbbbbbbbbb, the folder of aaaaaaaaaaaaaaaa"));
  CHECK_THAT(copied({"generations.jsonl", "rounds.jsonl", "summary.json", "manifest.json"}),
             Contains("manifest.json: is of the cell bbbbbbbbbbbbbbbb"));
  CHECK_THAT(copied({"summary.json"}),
             Contains("summary.json: was changed after it was written, or is another cell's"));
}

TEST_CASE("a lost answer is told with its prompt, the last one as well") {
  for (const char* prompt : {"one", "three"}) {
    for (const bool with_rounds : {false, true}) {
      SealedStudy written;
      const auto without = [&](const char* name) {
        std::istringstream in(testing::read_file(written.path(kFirstCell) / name));
        std::string kept;
        for (std::string line; std::getline(in, line);) {
          const Json row = Json::parse(line);
          if (row["conversation"] != prompt || row["pipeline"] != "baseline") kept += line + "\n";
        }
        std::ofstream(written.path(kFirstCell) / name) << kept;
      };
      without("generations.jsonl");
      if (with_rounds) without("rounds.jsonl");
      CHECK_THAT(written.damage(), Contains(fmt::format("prompt '{}', turn 0, repeat 0, baseline: its row ", prompt)) &&
                                       Contains(".jsonl"));
    }
  }
}

TEST_CASE("a folder of before, without names of cells and checksums of summaries, is read as it was") {
  SealedStudy written;
  std::istringstream in(testing::read_file(written.path(kFirstCell) / "generations.jsonl"));
  std::string rows;
  for (std::string line; std::getline(in, line);) {
    Json row = Json::parse(line);
    for (const char* key : {"cell", "rounds", "checksum"}) row.erase(key);
    rows += to_line(row);
  }
  std::ofstream(written.path(kFirstCell) / "generations.jsonl") << rows;
  Json summary = written.summary();
  for (const char* key : {"records", "files", "checksum", "fold"}) summary.erase(key);
  written.write(kFirstCell, "summary.json", summary);
  // Under a manifest of now it would be a way to bring in another cell's.
  CHECK_THAT(written.damage(), Contains("names no cell"));
  written.write(kFirstCell, "manifest.json", Json({{"cell_hash", kFirstCell}}));
  CHECK(damage_of(written.path(kFirstCell)).empty());
  CHECK(written.read().cells[0].state == CellState::Complete);
}

}  // namespace foretell
