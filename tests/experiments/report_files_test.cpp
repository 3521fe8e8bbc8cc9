// Reports, comparisons and plots, made of folders that are written here: whole ones, half ones and hostile ones.
#include "experiments/report/report_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/report/comparison.h"
#include "experiments/report/page.h"
#include "experiments/report/plot.h"
#include "experiments/report/spec_bench_import.h"
#include "experiments/results/record_json.h"
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
  const Json index = {{"study", "made"},
                      {"cells",
                       {cell(kEvilName, "aaaaaaaaaaaaaaaa", 1), cell("begun", "bbbbbbbbbbbbbbbb", 2),
                        cell("never", "cccccccccccccccc", 3)}}};
  folder.write("study.json", index.dump());
  std::filesystem::create_directories(folder.path() / "aaaaaaaaaaaaaaaa");
  std::filesystem::create_directories(folder.path() / "bbbbbbbbbbbbbbbb");
  folder.write("aaaaaaaaaaaaaaaa/manifest.json", Json({{"cpu", {{"model", "P"}}}, {"threads", 2}}).dump());
  folder.write("aaaaaaaaaaaaaaaa/summary.json",
               Json({{"complete", true},
                     {"tasks", {{"overall", made_task(speedup)}, {"qa", made_task(2)}, {"rag", made_task(1)}}}})
                   .dump());
  GenerationRecord record{.conversation = "1", .tokens = {1, 2}, .text = "x"};
  record.rounds.push_back({.drafted = 1, .scored = 2, .depth = 1, .accepted = 1, .emitted = 2});
  // As before rows named their cell, so that summaries may be written by hand; summary_check_test.cpp has those of now.
  Json row = generation_json(record);
  row["rounds"] = 1;
  row["checksum"] = checksum_of(row, round_lines(record));
  folder.write("aaaaaaaaaaaaaaaa/generations.jsonl", to_line(row));
  folder.write("aaaaaaaaaaaaaaaa/rounds.jsonl", round_lines(record));
}

}  // namespace

TEST_CASE("a folder that holds another cell's records is damaged") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  folder.write("aaaaaaaaaaaaaaaa/manifest.json", Json({{"cell_hash", "bbbbbbbbbbbbbbbb"}, {"threads", 2}}).dump());
  const StudyFolder study = read_study_folder(folder.path());
  CHECK(study.cells[0].state == CellState::Damaged);
  CHECK_THAT(study.cells[0].damage, Contains("is of the cell bbbbbbbbbbbbbbbb"));
  CHECK(study.cells[0].overall() == nullptr);
}

TEST_CASE("an interval says what it is over, and where there is none, why") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  Json task = made_task(1.5), lone = made_task(1.5);
  task["speedup_units"] = "3 batches of 12 prompts";
  lone["speedup_interval"] = nullptr;
  lone["speedup_units"] = "1 batch of 12 prompts";
  lone["speedup_no_interval"] = "all 12 prompts ran in one batch, which is one sample";
  folder.write("aaaaaaaaaaaaaaaa/summary.json", Json({{"complete", true}, {"tasks", {{"overall", task}}}}).dump());
  folder.write("bbbbbbbbbbbbbbbb/summary.json", Json({{"complete", true}, {"tasks", {{"overall", lone}}}}).dump());
  const StudyFolder study = read_study_folder(folder.path());
  CHECK(interval_text(*study.cells[0].overall()) == "1.25 to 1.75 (3 batches of 12 prompts)");
  CHECK(interval_text(*study.cells[1].overall()) == "none (1 batch of 12 prompts)");
  const std::vector<std::string> said = notes(study);
  CHECK(std::count(said.begin(), said.end(), "no interval: all 12 prompts ran in one batch, which is one sample.") ==
        1);
}

TEST_CASE("a lossless cell whose tokens differ is a finding in the table and the notes, from files alone") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  Json task = made_task(1.5);
  task["same_as_baseline"] = 0.75;
  const Json summary = {{"complete", true}, {"lossless", true}, {"tasks", {{"overall", task}}}};
  folder.write("aaaaaaaaaaaaaaaa/summary.json", summary.dump());
  const auto tokens = [&] {
    const ReportTable table = results_rows(read_study_folder(folder.path()));
    const auto column = std::find(table.headings.begin(), table.headings.end(), "same tokens") - table.headings.begin();
    return table.rows[0].at(static_cast<std::size_t>(column));
  };
  CHECK(tokens() == "75% (not examined)");
  folder.write("aaaaaaaaaaaaaaaa/divergence.json",
               R"({"differences": [{"task": "qa", "tie": true, "words": "prompt 7 differs: a tie"},
                                                         {"task": "qa", "tie": false, "words": "prompt 8 differs: NOT a tie"}]})");
  CHECK(tokens() == "75% (1 tie, 1 NOT EXPLAINED)");
  const std::vector<std::string> said = notes(read_study_folder(folder.path()));
  CHECK(std::any_of(said.begin(), said.end(), [](const std::string& note) {
    return note.find("1 tie, 1 NOT EXPLAINED. prompt 8 differs: NOT a tie. prompt 7 differs: a tie.") !=
           std::string::npos;
  }));
  for (const char* broken : {"{}", "{\"differences\": 3}", "{\"differences\": [1]}",
                             "{\"differences\": [{\"tie\": \"x\", \"words\": \"y\"}]}"}) {
    folder.write("aaaaaaaaaaaaaaaa/divergence.json", broken);
    const StudyFolder study = read_study_folder(folder.path());
    CHECK(study.cells[0].state == CellState::Damaged);
    CHECK_THAT(study.cells[0].damage, Contains("divergence.json"));
  }
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
  CHECK_THAT(text, Contains("1.25 to 1.75") && Contains("begun [incomplete]") && Contains("never [missing]") &&
                       !Contains(kEvilName));
  const std::string markdown = report_markdown(study);
  CHECK_THAT(markdown, Contains("\\</script\\> \"a\", b\\|c") && Contains("Complete: 1 of 3 cells."));
  const ReportTable depths = depth_rows(study);
  REQUIRE(depths.rows.size() == 2);  // a round without a draft has no depth
  CHECK(std::vector<std::string>(depths.rows[0].begin() + 1, depths.rows[0].end()) ==
        std::vector<std::string>{"2", "4", "25.0%", "25.0%", "50.0%"});
  CHECK(std::vector<std::string>(depths.rows[1].begin() + 1, depths.rows[1].end()) ==
        std::vector<std::string>{"10", "1", "0.0%", "100.0%", "-"});
  CHECK_THAT(markdown, Contains("Accepted, by depth of the draft"));
}

TEST_CASE("the command that a report shows can be copied, whatever the study's file is called") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  StudyFolder study = read_study_folder(folder.path());
  study.file = "configs/demo.yaml";
  CHECK_THAT(report_markdown(study), Contains("Made by `foretell run configs/demo.yaml`;"));
  study.file = "my `id` study.yaml";
  CHECK_THAT(report_markdown(study), Contains("Made by ``foretell run 'my `id` study.yaml'``;"));
}

TEST_CASE("what was fed in, imported or timed on a busy machine says so in every format") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  Json task = made_task(5.0);
  task["requests"] = 12;
  task["decode_speedup"] = 5.5;
  task["verdict"] = "unreliable timing";
  task["verdict_words"] = "unreliable timing: scoring 5 rows took 4x the measured cost; measured were 5x";
  Json good = made_task(1.5);
  good["requests"] = 12;
  good["decode_speedup"] = 1.625;
  const auto performance = [](double iid) {
    return Json({{"predicted", {{"iid", iid}, {"oracle", 2 * iid}}}, {"reason", "a reason"}});
  };
  folder.write("aaaaaaaaaaaaaaaa/summary.json",
               Json({{"complete", true}, {"tasks", {{"overall", task}}}, {"performance", performance(0.5)}}).dump());
  folder.write("bbbbbbbbbbbbbbbb/manifest.json", Json({{"imported_from", "rows.jsonl"}}).dump());
  folder.write("bbbbbbbbbbbbbbbb/summary.json", Json({{"complete", true},
                                                      {"given_acceptance", {"drafter 'oracle'"}},
                                                      {"tasks", {{"overall", good}}},
                                                      {"performance", performance(1.75)}})
                                                    .dump());
  const StudyFolder study = read_study_folder(folder.path());
  CHECK(study.cells[0].overall()->unreliable());
  CHECK_THAT(report_text(study), Contains("unreliable timing") && Contains("Its speed-up is no result") &&
                                     Contains("[given acceptance]") && Contains("it is recomputed, not measured") &&
                                     Contains("another program's rows, rows.jsonl"));
  CHECK_THAT(report_csv(study), Contains(",decode_speedup,") && Contains(",5.5,") && Contains(",1.625,") &&
                                    Contains("drafter 'oracle'") && Contains("given_acceptance,imported_from\n"));
  CHECK(report_json(study)["cells"][1]["given_acceptance"] == "drafter 'oracle'");
  // Decoding against what is predicted of decoding, and nothing where the clock cannot be believed.
  const PlotFiles predicted = plot_files(study, "predicted", "svg");
  CHECK(predicted.data == "1.75\t1.625\n\n\n3.5\t1.625\n");
  CHECK_THAT(predicted.script, Contains("predicted decode speed-up") && Contains("measured decode speed-up"));
  CHECK_THAT(plot_files(study, "speedup", "svg").data,
             Contains("(unreliable timing)") && Contains("begun (given acceptance)"));
  REQUIRE(predicted_rows(study).headings[2] == "decode speed-up");
  CHECK(predicted_rows(study).rows[1][2] == "1.62x");
  const Comparison same = compare(study, study);
  CHECK_THAT(comparison_text(study, study, same),
             Contains("unreliable timing") && Contains("begun [given acceptance]"));
  CHECK(comparison_json(study, study, same)["cells"][0]["speedup_ratio"].is_null());
  CHECK(comparison_json(study, study, same)["cells"][0]["a"]["verdict"] == "unreliable timing");
  CHECK(comparison_json(study, study, same)["cells"][1]["speedup_ratio"] == 1.0);
}

TEST_CASE("what an older version called faster has no verdict where this one would not judge") {
  const testing::TemporaryFolder folder;
  const auto verdict_of = [&](Json task) {
    write_study(folder);
    folder.write("aaaaaaaaaaaaaaaa/summary.json", Json({{"complete", true}, {"tasks", {{"overall", task}}}}).dump());
    return read_study_folder(folder.path()).cells[0].overall()->verdict;
  };
  Json task = made_task(1.5);
  CHECK(verdict_of(task).empty());  // 3 requests
  task["requests"] = 12;
  CHECK(verdict_of(task) == "faster");
  task["speedup_samples"] = 3;
  CHECK(verdict_of(task).empty());
  task["speedup_samples"] = 12;
  task["speedup_interval"] = nullptr;
  CHECK(verdict_of(task).empty());
  task["verdict"] = "no difference shown";
  CHECK(verdict_of(task) == "no difference shown");
}

TEST_CASE("CSV: one line a cell and task, settings as columns, fields quoted") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  const std::string csv = report_csv(read_study_folder(folder.path()));
  CHECK_THAT(csv, Contains("task,pipeline.drafter.type,pipeline.drafter.k,requests") &&
                      Contains("\"</script> \"\"a\"\", b|c\n<img src=x> \xC3\xA9\"") &&
                      Contains("made,never,cccccccccccccccc,missing,false,true,,model,3,,"));
  CHECK(csv_field("plain") == "plain");
  CHECK(csv_field("a\rb") == "a\\rb");
  CHECK(csv_field("a\nb") == "\"a\nb\"");
}

TEST_CASE("CSV: no text is a formula, and numbers stay numbers") {
  for (const char* formula : {"=1+1", "+1+1", "-1+1", "@SUM(1)", "=HYPERLINK(1)", "-", "+", "--1", "++1", "-x", "\t=1"})
    CHECK(csv_field(formula) == fmt::format("'{}", formula));
  CHECK(csv_field("\n=1") == "\"'\n=1\"");
  CHECK(csv_field("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0");
  CHECK(csv_field("=a,\"b\"") == "\"'=a,\"\"b\"\"\"");
  for (const char* number : {"-1", "+2", "-0.5", "1e-05", "-1e+300", "+0.25"}) CHECK(csv_field(number) == number);
  CHECK(csv_field("\x1b[31mred\xC2\x9b"
                  "1m\xE2\x80\xAE!") == "\\x1b[31mred\\u{9b}1m\\u{202e}!");
  CHECK(csv_field(std::string("a\0b", 3)) == "a\\x00b");
}

TEST_CASE("the page holds no text that could end its script") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  const std::string page = report_page(read_study_folder(folder.path()), "/* Chart */");
  CHECK_THAT(page, !Contains("<img") && !Contains("</script> \"a\"") && Contains("\\u003c/script\\u003e") &&
                       Contains("/* Chart */"));
  const auto file = folder.write("chart.js", "Chart = '</SCRIPT>'");
  CHECK_THROWS_WITH(chart_js_source(file.string()), Contains("chart.js"));
}

TEST_CASE(
    "a study that cannot be used is one line with the file; of a cell's file the line is its damage, and the other "
    "cells are shown") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_WITH(read_study_folder(folder.path()), Contains("is not the folder of a study"));
  const auto refused = [&](const char* name, const std::string& content, const char* message) {
    write_study(folder);
    folder.write(name, content);
    CHECK_THROWS_WITH(read_study_folder(folder.path()), Contains(message) && Contains(name) && !Contains("\n"));
  };
  refused("study.json", "{\"study\": \"x\"", "not JSON");
  refused("study.json", "[]", "expected an object, found an array");
  refused("study.json", R"({"study": "x"})", "key 'cells' is missing");
  refused("study.json", R"({"study": "x", "cells": [{"name": "a", "hash": "../.."}]})",
          "/cells/0/hash: expected 16 hexadecimal digits");
  refused("study.json", R"({"study": "x", "cells": [{"name": 1, "hash": "aaaaaaaaaaaaaaaa"}]})",
          "/cells/0/name: expected a string, found a number");
  const auto damaged = [&](const char* name, const std::string& content, const char* message) {
    write_study(folder);
    folder.write("bbbbbbbbbbbbbbbb/summary.json",
                 Json({{"complete", true}, {"tasks", {{"overall", made_task(1.25)}}}}).dump());
    folder.write(name, content);
    const StudyFolder study = read_study_folder(folder.path());
    CHECK(study.cells[0].state == CellState::Damaged);
    CHECK(study.cells[0].overall() == nullptr);
    CHECK_THAT(study.cells[0].damage, Contains(message) && Contains(name) && !Contains("\n"));
    CHECK_THAT(report_text(study), Contains("[damaged]") && Contains(message) && Contains("1.25x"));
  };
  damaged("aaaaaaaaaaaaaaaa/summary.json", "{\"complete\": tr", "not JSON");
  damaged("aaaaaaaaaaaaaaaa/summary.json", R"({"complete": true, "tasks": {"overall": {"speedup": "fast"}}})",
          "/tasks/overall/speedup: expected a number, found a string");
  damaged("aaaaaaaaaaaaaaaa/summary.json", R"({"complete": true, "tasks": {"overall": {"speedup": 1e999}}})",
          "not JSON");
  damaged("aaaaaaaaaaaaaaaa/summary.json", "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}",
          "deeper than 64");
  damaged("aaaaaaaaaaaaaaaa/summary.json",
          R"({"complete": true, "tasks": {"overall": {"acceptance_histogram_by_depth": {"2x": [1]}}}})",
          "/2x: its key is not a depth");
  damaged("aaaaaaaaaaaaaaaa/summary.json",
          R"({"complete": true, "tasks": {"overall": {"acceptance_histogram_by_depth": {"2": ["a"]}}}})",
          "/2/0: expected a number, found a string");
  damaged("aaaaaaaaaaaaaaaa/manifest.json", R"({"threads": [1]})", "/threads: expected a number, found an array");
}

TEST_CASE("a cell whose records are damaged shows no number and is not compared") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  folder.write("aaaaaaaaaaaaaaaa/rounds.jsonl", "");
  const StudyFolder study = read_study_folder(folder.path());
  CHECK(study.cells[0].state == CellState::Damaged);
  CHECK(study.cells[0].overall() == nullptr);
  CHECK_THAT(report_text(study), Contains("[damaged]") && Contains("generations.jsonl:1: prompt '1'") &&
                                     Contains("1 round recorded, 0 found"));
  CHECK_THROWS_WITH(compare(study, study), Contains("generations.jsonl:1") && Contains("1 round recorded, 0 found"));
  // Rows that are whole, but not those that the summary was made of.
  write_study(folder);
  Json summary = Json::parse(testing::read_file(folder.path() / "aaaaaaaaaaaaaaaa/summary.json"));
  summary["records"] = {{"generations", 2}, {"checksum", "xxh3:00"}};
  folder.write("aaaaaaaaaaaaaaaa/summary.json", summary.dump());
  CHECK_THAT(read_study_folder(folder.path()).cells[0].damage,
             Contains("summary.json: was made of 2 generations, 1 are there"));
  summary["records"]["generations"] = 1;
  folder.write("aaaaaaaaaaaaaaaa/summary.json", summary.dump());
  CHECK_THAT(read_study_folder(folder.path()).cells[0].damage, Contains("summary.json: was not made of the records"));
}

// Calls f for every place of a document with the document in which the place holds another kind of value.
void for_each_wrong_type(const Json& document,
                         const std::function<void(const Json& changed, const std::string& place)>& f) {
  const std::vector<Json> wrong = {
      nullptr, true, -7, 1.5, 1e300, "text", Json::array(), Json::array({"a", 1}), Json::object(), {{"a", {1}}}};
  const Json flat = document.flatten();
  for (const auto& [place, value] : flat.items()) {
    for (std::string at = place; !at.empty(); at = at.substr(0, at.rfind('/'))) {
      for (const Json& bad : wrong) {
        Json changed = document;
        changed[Json::json_pointer(at)] = bad;
        f(changed, at + " = " + bad.dump());
      }
    }
  }
}

TEST_CASE("every key of every file with a value of another type is read or is one line with the file") {
  const testing::TemporaryFolder folder;
  write_study(folder);
  folder.write("aaaaaaaaaaaaaaaa/prediction.json",
               Json({{"num_speculative_tokens", 3}, {"expected_acceptance_on_text", 0.5}}).dump());
  Json manifest = {{"started", "now"},
                   {"foretell", {{"version", "1"}, {"revision", "r"}, {"compiler", "c"}}},
                   {"cpu", {{"model", "P"}, {"flags", {"avx2"}}}},
                   {"threads", 2},
                   {"device", "cpu"},
                   {"libtorch", "2"},
                   {"plugins", {{{"file", "a.so"}, {"hash", "xxh3:0"}}}},
                   {"target", {{"folder", "m"}, {"files", {{"model.safetensors", "xxh3:1"}}}}},
                   {"inputs", {{"prompts.jsonl", "xxh3:2"}}},
                   {"laws", {{"file", "probs.bin"}, {"hash", "xxh3:3"}}}};
  folder.write("aaaaaaaaaaaaaaaa/manifest.json", manifest.dump());
  const std::string cell = "aaaaaaaaaaaaaaaa/";
  int read = 0, refused = 0;
  for (const std::string& name :
       {std::string("study.json"), cell + "summary.json", cell + "manifest.json", cell + "prediction.json"}) {
    const std::string whole = testing::read_file(folder.path() / name);
    for_each_wrong_type(Json::parse(whole), [&](const Json& changed, const std::string& place) {
      folder.write(name, changed.dump());
      INFO(name << ": " << place);
      std::string why;
      try {
        const StudyFolder study = read_study_folder(folder.path());
        report_csv(study);
        if (!study.cells.empty()) why = study.cells[0].damage;
      } catch (const Error& error) {
        why = error.what();
        CHECK(name == "study.json");
      }
      ++(why.empty() ? read : refused);
      if (!why.empty()) CHECK_THAT(why, Contains(name) && !Contains("\n") && !Contains("json.exception"));
    });
    folder.write(name, whole);
  }
  CHECK(read > 100);
  CHECK(refused > 500);
}

TEST_CASE("cells are compared by hash, then by settings that only one cell has") {
  const testing::TemporaryFolder one, two;
  write_study(one, 1.5);
  write_study(two, 2.5);
  std::filesystem::rename(two.path() / "aaaaaaaaaaaaaaaa", two.path() / "dddddddddddddddd");
  std::string index = testing::read_file(two.path() / "study.json");
  index.replace(index.find("\"aaaaaaaaaaaaaaaa\""), 18, "\"dddddddddddddddd\"");
  two.write("study.json", index);
  two.write("dddddddddddddddd/manifest.json", Json({{"cpu", {{"model", "Q"}}}, {"threads", 2}}).dump());
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
    return fmt::format(
               R"({{"question_id": {}, "category": "qa", "model_id": "m", "choices": [{{"index": 0, "turns": ["a", "b"], {}}}]}})",
               id, more) +
           "\n";
  };
  const auto answers = folder.write(
      "a.jsonl",
      row(1,
          R"("decoding_steps": [1, 2], "new_tokens": [3, 4], "wall_time": [0.5, 0.5], "accept_lengths": [3, 2, 2])"));
  const auto plain = folder.write(
      "b.jsonl",
      row(1,
          R"("decoding_steps": [3, 4], "new_tokens": [3, 4], "wall_time": [1, 1], "accept_lengths": [1, 1, 1, 1, 1, 1, 1])"));
  CHECK(import_spec_bench({.answers = answers, .baseline = plain, .out = folder.path() / "out"}) == "m");
  const StudyFolder study = read_study_folder(folder.path() / "out");
  REQUIRE(study.cells.size() == 1);
  CHECK(study.cells[0].state == CellState::Complete);
  REQUIRE(study.cells[0].overall() != nullptr);
  const TaskNumbers& overall = *study.cells[0].overall();
  CHECK(*overall.at("requests") == 2);
  CHECK(*overall.at("mean_acceptance_length") == Approx(7.0 / 3));
  CHECK(*overall.at("tokens_per_second") == Approx(7.0));
  CHECK(*overall.at("speedup") == Approx(2.0));
  CHECK_FALSE(overall.at("drafted").has_value());
  CHECK_FALSE(overall.at("score_ms").has_value());
  CHECK_THROWS_WITH(import_spec_bench({.answers = answers, .out = folder.path() / "out"}),
                    Contains("holds a study already"));
  const auto questions = folder.write("q.jsonl", "{\"question_id\": 7, \"category\": \"qa\", \"turns\": [\"x\"]}\n");
  CHECK_THROWS_WITH(import_spec_bench({.answers = answers, .questions = questions, .out = folder.path() / "new"}),
                    Contains("question 1 is not in"));
  const auto absurd = folder.write(
      "c.jsonl",
      row(1, R"("decoding_steps": [1], "new_tokens": [2000000000], "wall_time": [1], "accept_lengths": [1])"));
  CHECK_THROWS_WITH(import_spec_bench({.answers = absurd, .out = folder.path() / "new"}),
                    Contains("new_tokens is 2000000000"));
  const auto twice = folder.write("d.jsonl", testing::read_file(answers) + testing::read_file(answers));
  CHECK_THROWS_WITH(import_spec_bench({.answers = twice, .out = folder.path() / "new"}),
                    Contains("question 1 is answered twice"));
}

}  // namespace foretell
