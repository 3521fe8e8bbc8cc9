#include "experiments/tables/survey_table.h"

#include <nlohmann/json.hpp>

#include "experiments/tables/survey_table_measured.h"
#include "experiments/tables/survey_table_report.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;
using foretell::testing::TemporaryFolder;

namespace {

ComparedCell ordered(const char* row, double low, double high, std::optional<double> here) {
  return {.row = row,
          .published = Published{low, high},
          .measured = here,
          .how = {Compare::Order, "another machine"},
          .missing = "not run"};
}

ComparedCell exact(double published, std::optional<double> here, Tolerance tolerance, Compare compare = Compare::Value,
                   std::string why = "") {
  return {.row = "r",
          .published = Published{published, published},
          .measured = here,
          .how = {compare, why, tolerance},
          .missing = "not run"};
}

JudgedCell verdict_of(const ComparedCell& cell) { return judge_column({&cell, 1}, 0).cells.at(0); }

GenerationRecord question(const char* id, const char* task, int repeat, PipelineVariant arm, int tokens,
                          std::int64_t ns) {
  return {.conversation = id, .task = task, .repeat = repeat, .arm = arm, .tokens = Tokens(tokens, 1), .wall_ns = ns};
}

// The message of the table with one piece of a good one replaced.
std::string table_mistake(const std::string& piece, const std::string& by) {
  const TemporaryFolder folder;
  std::string text =
      "title: t\n"
      "source: {authors: A, year: 2024, where: Table 1}\n"
      "setting: {model: m, hardware: h, counting: c}\n"
      "studies: {s: {study: study.yaml, setting: here}}\n"
      "columns:\n"
      "  - {name: tau, study: s, task: overall, metric: mean_acceptance_length, compare: value, tolerance: 0.1}\n"
      "  - {name: cost, compare: none, because: nothing is trained}\n"
      "rows:\n"
      "  - {name: PLD, published: [1.7, [3, 4]], measured: {s: {}}}\n";
  const std::size_t at = text.find(piece);
  REQUIRE(at != std::string::npos);
  text.replace(at, piece.size(), by);
  folder.write("study.yaml", "study: s\n");
  const auto file = folder.write("t.yaml", text);
  try {
    load_survey_table(file);
  } catch (const Error& error) {
    const std::string message = error.what();
    return message.rfind(file.string(), 0) == 0 ? message.substr(file.string().size()) : message;
  }
  return "";
}

}  // namespace

TEST_CASE("a published value is reproduced within its tolerance, edges included") {
  CHECK(verdict_of(exact(1.73, 1.75, {.absolute = 0.02})).verdict == CellVerdict::Reproduced);
  CHECK(verdict_of(exact(1.73, 1.7501, {.absolute = 0.02})).verdict == CellVerdict::Differs);
  CHECK(verdict_of(exact(2.0, 1.96, {.relative = 0.02})).verdict == CellVerdict::Reproduced);
  CHECK(verdict_of(exact(2.0, 1.95, {.relative = 0.02})).reason == "more than 2% off");
  CHECK(is_within({1.5, 2.0}, 1.7, {}));
  CHECK(is_within({1.5, 2.0}, 1.45, {.absolute = 0.05}));
  CHECK_FALSE(is_within({1.5, 2.0}, 2.1, {.absolute = 0.05}));
}

TEST_CASE("a cell that may differ says why only where it does; one without a number says what is missing") {
  CHECK(verdict_of(exact(2.0, 2.0, {.absolute = 0.1}, Compare::MayDiffer, "other questions")).reason.empty());
  CHECK(verdict_of(exact(2.0, 3.0, {.absolute = 0.1}, Compare::MayDiffer, "other questions")).reason ==
        "more than 0.1 off; other questions");
  const JudgedCell missing = verdict_of(exact(2.0, std::nullopt, {.absolute = 0.1}));
  CHECK(missing.verdict == CellVerdict::NotMeasured);
  CHECK(missing.reason == "not run");
  CHECK(verdict_of({.row = "r", .published = Published{1, 1}, .measured = 1.0, .how = {Compare::None, "heads"}})
            .verdict == CellVerdict::NotComparable);
  CHECK_FALSE(verdict_of({.row = "r", .measured = 1.0, .how = {Compare::Value, "", {.absolute = 1.0}}}).verdict);
}

TEST_CASE("order: a row agrees if every pair with it does, and the others say with whom they disagree") {
  const std::vector<ComparedCell> cells = {ordered("a", 3, 3, 1.5), ordered("b", 2, 2, 1.2),
                                           ordered("c", 1.5, 1.5, 1.3), ordered("d", 1, 1, {})};
  const JudgedColumn column = judge_column(cells, 0.0);
  CHECK(column.cells[0].verdict == CellVerdict::SameOrder);
  CHECK(column.cells[0].reason == "another machine");
  CHECK(column.cells[1].verdict == CellVerdict::Differs);
  CHECK(column.cells[1].reason == "here below c, published above");
  CHECK(column.cells[2].reason == "here above b, published below");
  CHECK(column.cells[3].verdict == CellVerdict::NotMeasured);
  CHECK(column.agreeing == 2);
  CHECK(column.disagreeing == 1);
  CHECK(*column.kendall_tau == Approx(1.0 / 3));
}

TEST_CASE("order: near numbers and overlapping ranges are not ordered, and a row alone cannot be") {
  const std::vector<ComparedCell> near = {ordered("a", 3, 3, 1.20), ordered("b", 2, 2, 1.23), ordered("c", 1, 1, 1.0)};
  const JudgedColumn column = judge_column(near, 0.05);
  CHECK(column.cells[0].verdict == CellVerdict::SameOrder);
  CHECK(column.disagreeing == 0);
  CHECK(column.agreeing == 2);
  const std::vector<ComparedCell> ranges = {ordered("a", 1.0, 1.8, 2.0), ordered("b", 1.1, 1.3, 1.0)};
  CHECK(judge_column(ranges, 0).cells[0].verdict == CellVerdict::NotComparable);
  CHECK_FALSE(judge_column(ranges, 0).kendall_tau);
  std::vector<ComparedCell> unsure = {ordered("a", 3, 3, 1.5), ordered("b", 1, 1, 1.2)};
  CHECK(judge_column(unsure, 0).agreeing == 1);
  unsure[0].interval = Interval{1.1, 1.9};
  unsure[1].interval = Interval{1.0, 1.3};
  CHECK(judge_column(unsure, 0).agreeing == 0);
  const ComparedCell alone = ordered("a", 1, 1, 1.0);
  CHECK(verdict_of(alone).reason == "no other row can be ordered against it; another machine");
}

TEST_CASE("a number that was fed in is never reproduced, and in no order") {
  ComparedCell fed = exact(2.28, 2.26, {.absolute = 0.03});
  fed.given = "drafter 'oracle'";
  const JudgedCell close = verdict_of(fed);
  CHECK(close.verdict == CellVerdict::Recomputed);
  CHECK(close.reason == "drafter 'oracle' was given what it shows");
  CHECK(close.within);
  fed.measured = 3.0;
  CHECK(verdict_of(fed).verdict == CellVerdict::Recomputed);
  CHECK(verdict_of(fed).reason == "drafter 'oracle' was given what it shows; more than 0.03 off");
  CHECK_FALSE(verdict_of(fed).within);
  fed.published.reset();
  CHECK(verdict_of(fed).verdict == CellVerdict::Recomputed);  // it stands in the table, so it says what it is
  CHECK(name_of(CellVerdict::Recomputed) == "recomputed from their record");
  fed = ordered("d", 4, 4, 4.0);
  fed.given = "verifier 'synthetic'";
  const std::vector<ComparedCell> cells = {ordered("a", 3, 3, 1.5), ordered("b", 2, 2, 1.2), ordered("c", 1, 1, 1.1),
                                           fed};
  const JudgedColumn column = judge_column(cells, 0.0);
  CHECK(column.agreeing == 3);
  CHECK(*column.kendall_tau == 1);
  CHECK(column.cells[3].verdict == CellVerdict::Recomputed);
  CHECK(judge_column(std::vector<ComparedCell>{cells[0], fed}, 0).cells[0].verdict == CellVerdict::NotComparable);
}

TEST_CASE("a speed-up that cannot be believed is not compared, and one without an interval is in no order") {
  ComparedCell doubtful = exact(1.5, 1.5, {.absolute = 0.1});
  doubtful.doubt = "unreliable timing: x";
  CHECK(verdict_of(doubtful).verdict == CellVerdict::NotComparable);
  CHECK(verdict_of(doubtful).reason == "unreliable timing: x");
  std::vector<ComparedCell> cells = {ordered("a", 3, 3, 1.5), ordered("b", 2, 2, 1.2), ordered("c", 1, 1, 1.1)};
  cells[0].unsure = "it has no interval";
  CHECK(judge_column(cells, 0).cells[0].reason == "it has no interval; another machine");
  CHECK(judge_column(cells, 0).agreeing == 1);
  cells[1].doubt = "unreliable timing: x";
  CHECK(judge_column(cells, 0).agreeing == 0);
}

TEST_CASE("fewer than three pairs have no rank correlation") {
  const std::vector<ComparedCell> two = {ordered("a", 3, 3, 1.5), ordered("b", 2, 2, 1.2)};
  CHECK(judge_column(two, 0).agreeing == 1);
  CHECK_FALSE(judge_column(two, 0).kendall_tau);
  CHECK(judge_column(two, 0).by_order);
}

TEST_CASE("the speed-up as the mean over questions: turns summed, questions weigh alike, then the mean over repeats") {
  const std::vector<GenerationRecord> records = {
      question("1", "qa", 0, PipelineVariant::Method, 10, 50),
      question("1", "qa", 0, PipelineVariant::Method, 10, 50),     // 0.2
      question("1", "qa", 0, PipelineVariant::Baseline, 20, 200),  // 0.1
      question("2", "rag", 0, PipelineVariant::Method, 100, 200),
      question("2", "rag", 0, PipelineVariant::Baseline, 100, 1000),  // 0.5, 0.1
      question("1", "qa", 1, PipelineVariant::Method, 10, 100),
      question("1", "qa", 1, PipelineVariant::Baseline, 10, 100),  // 1
      question("3", "qa", 1, PipelineVariant::Method, 10, 1),      // has no baseline
  };
  CHECK(speedup_mean_of_questions(records, "qa")->value == Approx((2.0 + 1.0) / 2));
  CHECK(speedup_mean_of_questions(records, "rag")->value == Approx(5.0));
  CHECK(speedup_mean_of_questions(records, "overall")->value == Approx(((0.2 + 0.5) / 0.2 + 1.0) / 2));
  CHECK_FALSE(speedup_mean_of_questions(records, "none"));
}

TEST_CASE("a table's mistakes are told with their line") {
  CHECK(table_mistake("title: t", "title: u").empty());
  CHECK(table_mistake("title: t", "titel: t").find(":1: unknown key of a table 'titel' (did you mean 'title'?)") == 0);
  CHECK(table_mistake("study: s, task", "study: r, task").find(":6: unknown study 'r'") == 0);
  CHECK(table_mistake("mean_acceptance_length", "mean_acceptance_lenght").find(":6: ") == 0);
  CHECK(table_mistake(", tolerance: 0.1", "") == ":6: column 'tau': needs a tolerance or relative_tolerance");
  CHECK(table_mistake("tolerance: 0.1", "tolerance: 0.1, relative_tolerance: 0.1") ==
        ":6: column 'tau': tolerance or relative_tolerance, not both");
  CHECK(table_mistake(", because: nothing is trained", "") ==
        ":7: column 'cost': compare: none needs a reason in 'because'");
  CHECK(table_mistake("task: overall, ", "") == ":6: column 'tau': needs study, task and metric");
  CHECK(table_mistake("[1.7, [3, 4]]", "[1.7]") ==
        ":9: row 'PLD': 1 published number for 2 columns; null stands for none");
  CHECK(table_mistake("[3, 4]", "[4, 3]") == ":9: cost: the range [4, 3] is upside down");
  CHECK(table_mistake("[3, 4]", "[3, 4, 5]") == ":9: cost: a range has two numbers, [low, high]; found 3");
  CHECK(table_mistake("1.7", "fast").find(":9: tau") == 0);
  CHECK(table_mistake("1.7", ".nan").find(":9: tau") == 0);
  CHECK(table_mistake(", measured: {s: {}}", "") ==
        ":9: row 'PLD': column 'tau' is measured by study 's', of which no cell is named; name one, or say "
        "not_comparable");
  CHECK(table_mistake(", measured: {s: {}}", ", not_comparable: heads").empty());
  CHECK(table_mistake(", measured: {s: {}}", ", not_comparable: {taw: heads}")
            .find(":9: unknown column 'taw' (did you mean 'tau'?)") == 0);
  CHECK(table_mistake("measured: {s: {}}", "measured: {s: {}}, may_differ: {cost: x}") ==
        ":9: row 'PLD': column 'cost' is not compared by value, so nothing may differ");
  CHECK(table_mistake("name: cost", "name: tau") == ":6: two columns are named 'tau'");
  CHECK(table_mistake("rows:\n  - {name: PLD, published: [1.7, [3, 4]], measured: {s: {}}}\n", "rows: []\n") ==
        ":8: rows: expected a list with an entry");
}

TEST_CASE("a row's reasons override its column's") {
  const TemporaryFolder folder;
  folder.write("study.yaml", "study: s\n");
  const SurveyTable table = load_survey_table(folder.write(
      "t.yaml",
      "title: t\nsource: {authors: A, year: 2024, where: T}\nsetting: {model: m, hardware: h, counting: c}\n"
      "studies: {s: {study: study.yaml, setting: here}}\n"
      "columns:\n"
      "  - {name: a, study: s, task: overall, metric: speedup, compare: value, tolerance: 0.1}\n"
      "  - {name: b, study: s, task: overall, metric: speedup, compare: order, because: machine}\n"
      "rows:\n"
      "  - {name: x, published: [1, 2], measured: {s: {}}, may_differ: {a: noise}, not_comparable: {b: heads}}\n"
      "  - {name: y, published: [null, 2], measured: {s: {}}}\n"));
  CHECK(table.rows[0].how[0].compare == Compare::MayDiffer);
  CHECK(table.rows[0].how[0].because == "noise");
  CHECK(*table.rows[0].how[0].tolerance.absolute == 0.1);
  CHECK(table.rows[0].how[1].compare == Compare::None);
  CHECK_FALSE(table.rows[1].published[0]);
  CHECK(table.rows[1].how[1].because == "machine");
}

TEST_CASE("a compared table as text, Markdown, CSV and JSON") {
  SurveyTable table;
  table.file = "t.yaml";
  table.title = "T";
  table.source = {.authors = "A", .where = "Table 1", .year = 2024};
  table.columns = {{.name = "tau"}, {.name = "a|b"}};
  table.rows = {{.name = "x, y",
                 .published = {Published{1.73, 1.73, "1.73"}, Published{1, 2, "1 to 2"}},
                 .how = {{Compare::Value, "", {0.1, {}}}, {Compare::None, "heads"}}},
                {.name = "z",
                 .published = {Published{2, 2, "2"}, std::nullopt},
                 .how = {{Compare::Value, "", {0.1, {}}}, {Compare::None, "heads"}}}};
  ComparedTable compared{table, {{{1.75}, {2.5}}, {{}, {}}}, {}};
  for (std::size_t c = 0; c < 2; ++c) {
    std::vector<ComparedCell> cells;
    for (std::size_t r = 0; r < 2; ++r)
      cells.push_back({table.rows[r].name,
                       table.rows[r].published[c],
                       compared.measured[c][r].value,
                       {},
                       table.rows[r].how[c],
                       "n"});
    compared.judged.push_back(judge_column(cells, 0));
  }
  CHECK_FALSE(all_reproduced(compared));
  const std::string text = to_text(compared);
  CHECK(text.find("= reproduced: 1, ~ same order: 0, ^ recomputed from their record: 0, ! differs: 1, x not "
                  "comparable: 1, ? not measured: 0") != std::string::npos);
  CHECK(text.find("differs: z in tau: more than 0.1 off") != std::string::npos);
  CHECK(text.find("not comparable: x, y in a|b: heads") != std::string::npos);
  CHECK(to_markdown(compared).find("| z | 2 | 2.50 ! | - | -   |") != std::string::npos);
  const std::string csv = to_csv(compared);
  CHECK(csv.find("\"x, y\",tau,1.73,1.73,1.75,reproduced,\n") != std::string::npos);
  CHECK(csv.find("z,a|b,,,,,\n") != std::string::npos);
  const auto json = to_json(compared);
  CHECK(json.at("cells").size() == 4);
  CHECK(json.at("cells")[1].at("published") == nlohmann::ordered_json::array({1.0, 2.0}));
  CHECK(json.at("cells")[1].at("verdict") == "not comparable");
  CHECK(json.at("cells")[0].at("declared_reproducible") == true);
}
