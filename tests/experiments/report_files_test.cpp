// Reports, comparisons and plots, made of folders that are written here: whole ones, half ones and hostile ones.
#include "experiments/report/report_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/report/comparison.h"
#include "experiments/report/page.h"
#include "experiments/report/plot.h"
#include "experiments/report/spec_bench_import.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using Json = nlohmann::ordered_json;

constexpr const char* kEvilName = "</script> \"a\", b|c\n<img src=x> \xC3\xA9";

Json made_task(double speedup) {
  return {{"requests", 3},
          {"tokens", 100},
          {"mean_acceptance_length", 2.5},
          {"tokens_per_second", 10 * speedup},
          {"speedup", speedup},
          {"speedup_interval", {speedup - 0.25, speedup + 0.25}},
          {"speedup_confidence", 0.95},
          {"verdict", "faster"},
          {"acceptance_rate_per_position", {0.75, 0.5}},
          {"emitted_per_scored", 0.625},
          {"acceptance_histogram_by_depth", {{"10", {0, 1}}, {"2", {1, 1, 2}}, {"0", {5}}}},
          {"phase_ms", {{"draft", 1.0}, {"score", 2.0}, {"verify", 0.5}, {"commit", 0.25}}}};
}

// Three cells: a whole one, one that was begun and one that was not.
void write_study(const testing::TemporaryFolder& folder, double speedup = 1.5) {
  const auto cell = [](const char* name, const char* hash, int k) -> Json {
    return {{"name", name}, {"hash", hash}, {"settings", {{"pipeline.drafter", {{"type", "model"}, {"k", k}}}}}};
  };
  const Json index = {{"study", "made"}, {"cells", {cell(kEvilName, "aa", 1), cell("begun", "bb", 2), cell("never", "cc", 3)}}};
  folder.write("study.json", index.dump());
  std::filesystem::create_directories(folder.path() / "aa");
  std::filesystem::create_directories(folder.path() / "bb");
  folder.write("aa/manifest.json", Json({{"cpu", {{"model", "P"}}}, {"threads", 2}}).dump());
  folder.write(
      "aa/summary.json",
      Json({{"complete", true}, {"tasks", {{"overall", made_task(speedup)}, {"qa", made_task(2)}, {"rag", made_task(1)}}}}).dump());
  folder.write("aa/generations.jsonl", R"({"conversation":"1","turn":0,"repeat":0,"pipeline":"method","tokens":[1,2],"text":"x"})"
                                       "\n");
}

}  // namespace

TEST_CASE("an interval says what it is over, and where there is none, why") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  Json task = made_task(1.5), lone = made_task(1.5);
  task["speedup_units"] = "3 batches of 12 prompts";
  lone["speedup_interval"] = nullptr;
  lone["speedup_units"] = "1 batch of 12 prompts";
  lone["speedup_no_interval"] = "all 12 prompts ran in one batch, which is one sample";
  folder.write("aa/summary.json", Json({{"complete", true}, {"tasks", {{"overall", task}}}}).dump());
  folder.write("bb/summary.json", Json({{"complete", true}, {"tasks", {{"overall", lone}}}}).dump());
  const StudyFolder study = read_study_folder(folder.path());
  CHECK(interval_text(*study.cells[0].overall()) == "1.25 to 1.75 (3 batches of 12 prompts)");
  CHECK(interval_text(*study.cells[1].overall()) == "none (1 batch of 12 prompts)");
  const std::vector<std::string> said = notes(study);
  CHECK(std::count(said.begin(), said.end(), "no interval: all 12 prompts ran in one batch, which is one sample.") == 1);
}

TEST_CASE("a report has a row for each cell and task; what is not there is '-' or empty, never 0") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  const StudyFolder study = read_study_folder(folder.path());
  REQUIRE(study.cells.size() == 3);
  CHECK(study.cells[0].state == CellState::Complete);
  CHECK(study.cells[1].state == CellState::Incomplete);
  CHECK(study.cells[2].state == CellState::Missing);
  const ReportTable table = results_rows(study);
  REQUIRE(table.rows.size() == 5);
  CHECK(table.rows[2][1] == "overall");
  for (std::size_t i = 1; i < table.rows[4].size(); ++i) CHECK(table.rows[4][i] == "-");
  const auto number = [&](std::size_t row, const char* heading) {
    const auto place = std::find(table.headings.begin(), table.headings.end(), heading);
    REQUIRE(place != table.headings.end());
    return table.rows[row].at(static_cast<std::size_t>(place - table.headings.begin()));
  };
  REQUIRE(table.rows[0][1] == "qa");
  CHECK(number(0, "requests") == "3");
  CHECK(number(0, "tokens") == "100");
  CHECK(number(0, "mean acc. length") == "2.500");
  CHECK(number(0, "tokens/s") == "20.0");
  CHECK(number(0, "speed-up") == "2.00x");
  CHECK(number(0, "interval") == "1.75 to 2.25");
  CHECK(number(1, "speed-up") == "1.00x");
  CHECK(number(2, "tokens/s") == "15.0");
  CHECK(number(2, "same tokens") == "-");
  const std::string text = report_text(study);
  CHECK_THAT(text, Contains("1.25 to 1.75") && Contains("begun [incomplete]") && Contains("never [missing]") && !Contains(kEvilName));
  const std::string markdown = report_markdown(study);
  CHECK_THAT(markdown, Contains("\\</script\\> \"a\", b\\|c") && Contains("1 of 3 cells are complete"));
  const ReportTable depths = depth_rows(study);
  REQUIRE(depths.rows.size() == 2);  // a round without a draft has no depth
  CHECK(std::vector<std::string>(depths.rows[0].begin() + 1, depths.rows[0].end()) ==
        std::vector<std::string>{"2", "4", "25.0%", "25.0%", "50.0%"});
  CHECK(std::vector<std::string>(depths.rows[1].begin() + 1, depths.rows[1].end()) ==
        std::vector<std::string>{"10", "1", "0.0%", "100.0%", "-"});
  CHECK_THAT(markdown, Contains("Accepted, by depth of the draft"));
}

TEST_CASE("CSV: one line a cell and task, settings as columns, fields quoted") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  const std::string csv = report_csv(read_study_folder(folder.path()));
  CHECK_THAT(csv, Contains("task,pipeline.drafter.type,pipeline.drafter.k,requests") &&
                      Contains("\"</script> \"\"a\"\", b|c\n<img src=x> \xC3\xA9\"") &&
                      Contains("made,never,cc,missing,false,true,,model,3,,"));
  CHECK(csv_field("plain") == "plain");
  CHECK(csv_field("a\rb") == "\"a\rb\"");
}

TEST_CASE("the page holds no text that could end its script") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  const std::string page = report_page(read_study_folder(folder.path()), "/* Chart */");
  CHECK_THAT(page, !Contains("<img") && !Contains("</script> \"a\"") && Contains("\\u003c/script\\u003e") && Contains("/* Chart */"));
  const auto file = folder.write("chart.js", "Chart = '</SCRIPT>'");
  CHECK_THROWS_WITH(chart_js_source(file.string()), Contains("chart.js"));
}

TEST_CASE("a folder that cannot be used is one line with the file") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_WITH(read_study_folder(folder.path()), Contains("is not the folder of a study"));
  const auto refused = [&](const char* name, const std::string& content, const char* message) {
    write_study(folder);
    folder.write(name, content);
    CHECK_THROWS_WITH(read_study_folder(folder.path()), Contains(message) && Contains(name) && !Contains("\n"));
  };
  refused("study.json", "{\"study\": \"x\"", "is no JSON");
  refused("study.json", "[]", "is no JSON object");
  refused("study.json", R"({"study": "x"})", "no list of cells");
  refused("study.json", R"({"study": "x", "cells": [{"name": "a", "hash": "../.."}]})", "letters and digits");
  refused("study.json", R"({"study": "x", "cells": [{"name": 1, "hash": "aa"}]})", "expected text");
  refused("aa/summary.json", R"({"complete": true, "tasks": {"overall": {"speedup": "fast"}}})", "/speedup is \"fast\"; expected number");
  refused("aa/summary.json", R"({"complete": true, "tasks": {"overall": {"speedup": 1e999}}})", "is no JSON");
  refused("aa/summary.json", "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", "deeper than 64");
  refused("aa/summary.json", R"({"complete": true, "tasks": {"overall": {"acceptance_histogram_by_depth": {"2x": [1]}}}})", "not a depth");
  refused("aa/summary.json", R"({"complete": true, "tasks": {"overall": {"acceptance_histogram_by_depth": {"2": ["a"]}}}})",
          "list of numbers");
  refused("aa/manifest.json", R"({"threads": [1]})", "/threads");
}

TEST_CASE("cells are compared by hash, then by settings that only one cell has") {
  const testing::TemporaryFolder one, two;
  write_study(one, 1.5);
  write_study(two, 2.5);
  std::filesystem::rename(two.path() / "aa", two.path() / "dd");
  std::string index = testing::read_file(two.path() / "study.json");
  index.replace(index.find("\"aa\""), 4, "\"dd\"");
  two.write("study.json", index);
  two.write("dd/manifest.json", Json({{"cpu", {{"model", "Q"}}}, {"threads", 2}}).dump());
  const StudyFolder a = read_study_folder(one.path()), b = read_study_folder(two.path());
  const Comparison comparison = compare(a, b);
  REQUIRE(comparison.pairs.size() == 3);
  CHECK_FALSE(comparison.pairs[0].by_hash);
  CHECK(comparison.pairs[1].by_hash);
  CHECK(comparison.pairs[0].answers == 1);
  CHECK(comparison.pairs[0].different == 0);
  REQUIRE(comparison.machine.size() == 1);
  CHECK(comparison.machine[0].what == "processor");
  const Json json = comparison_json(a, b, comparison);
  CHECK(json["cells"][0]["speedup_ratio"].get<double>() == Approx(2.5 / 1.5));
  CHECK(json["cells"][0]["intervals_overlap"] == false);
  CHECK(json["cells"][1]["speedup_ratio"].is_null());
  CHECK_THAT(comparison_text(a, b, comparison), Contains("apart") && Contains("processor") && Contains("same"));
}

TEST_CASE("a plot's script holds no text of the study") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  StudyFolder study = read_study_folder(folder.path());
  study.cells[0].name = "`touch x` \"; system('y')\t\n@z";
  for (const std::string kind : {"speedup", "acceptance", "phases"}) {
    const PlotFiles files = plot_files(study, kind, "svg");
    CHECK_THAT(files.script, !Contains("touch") && Contains("noenhanced"));
    CHECK_THAT(files.data, Contains("touch") && !Contains("\""));
  }
  CHECK_THROWS_WITH(plot_files(study, "predicted", "svg"), Contains("no cell has the numbers"));
  CHECK_THROWS_WITH(plot_files(study, "speedups", "svg"), Contains("did you mean 'speedup'"));
}

TEST_CASE("answer rows become a study: rounds from accept lengths, and null for what they do not say") {
  const testing::TemporaryFolder folder;
  const auto row = [](int id, const std::string& more) {
    return fmt::format(R"({{"question_id": {}, "category": "qa", "model_id": "m", "choices": [{{"index": 0, "turns": ["a", "b"], {}}}]}})",
                       id, more) +
           "\n";
  };
  const auto answers = folder.write(
      "a.jsonl", row(1, R"("decoding_steps": [1, 2], "new_tokens": [3, 4], "wall_time": [0.5, 0.5], "accept_lengths": [3, 2, 2])"));
  const auto plain = folder.write(
      "b.jsonl", row(1, R"("decoding_steps": [3, 4], "new_tokens": [3, 4], "wall_time": [1, 1], "accept_lengths": [1, 1, 1, 1, 1, 1, 1])"));
  CHECK(import_spec_bench({.answers = answers, .baseline = plain, .out = folder.path() / "out"}) == "m");
  const StudyFolder study = read_study_folder(folder.path() / "out");
  REQUIRE(study.cells.size() == 1);
  REQUIRE(study.cells[0].overall() != nullptr);
  const TaskNumbers& overall = *study.cells[0].overall();
  CHECK(*overall.at("requests") == 2);
  CHECK(*overall.at("mean_acceptance_length") == Approx(7.0 / 3));
  CHECK(*overall.at("tokens_per_second") == Approx(7.0));
  CHECK(*overall.at("speedup") == Approx(2.0));
  CHECK_FALSE(overall.at("drafted").has_value());
  CHECK_FALSE(overall.at("score_ms").has_value());
  CHECK_THROWS_WITH(import_spec_bench({.answers = answers, .out = folder.path() / "out"}), Contains("holds a study already"));
  const auto questions = folder.write("q.jsonl", "{\"question_id\": 7, \"category\": \"qa\", \"turns\": [\"x\"]}\n");
  CHECK_THROWS_WITH(import_spec_bench({.answers = answers, .questions = questions, .out = folder.path() / "new"}),
                    Contains("question 1 is not in"));
  const auto absurd =
      folder.write("c.jsonl", row(1, R"("decoding_steps": [1], "new_tokens": [2000000000], "wall_time": [1], "accept_lengths": [1])"));
  CHECK_THROWS_WITH(import_spec_bench({.answers = absurd, .out = folder.path() / "new"}), Contains("new_tokens is 2000000000"));
}

}  // namespace foretell
