// What a run says at its end.
#include "experiments/analysis/report.h"

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;

CellResult result_of(const std::string& workload, const std::string& task) {
  CellResult result;
  result.cell.name = "the cell";
  result.cell.workload = parse_yaml("type: " + workload, "workload");
  result.tasks = {task};
  result.summary["overall"].requests = 3;
  result.summary[task] = result.summary["overall"];
  return result;
}

TEST_CASE("a study of one named task has a row for it and one for all, one of unnamed prompts a row for each cell") {
  const std::string named = results_table({result_of("spec_bench", "math_reasoning")});
  CHECK_THAT(named, Contains("the cell\n") && Contains("\n  math_reasoning") && Contains("\n  overall"));
  const std::vector<std::pair<std::string, std::string>> plain = {
      {"random_ids", "random_ids"}, {"jsonl", "prompts"}, {"text", "text"}};
  for (const auto& [workload, task] : plain) {
    const std::string unnamed = results_table({result_of(workload, task)});
    CHECK_THAT(unnamed, Contains("the cell  ") && !Contains("overall"));
  }
}

TEST_CASE("inflated models are said, and stand in JSON") {
  CellResult result = result_of("text", "text");
  CHECK(inflation_note({result}).empty());
  CHECK(to_json(result.inflated).is_null());
  result.inflated.target = "tiny (4 layers\n)";
  CHECK(inflation_note({result, result}) ==
        "The target is inflated: tiny (4 layers ), padded with zeros to a larger shape. Its tokens are the small "
        "model's, its cost the "
        "large one's.\n");
  CHECK(to_json(result.inflated).at("target") == *result.inflated.target);
}

TEST_CASE("predicted acceptance stands beside the measured one") {
  CellResult result = result_of("text", "text");
  CHECK(prediction_table({result}).empty());
  result.prediction = Prediction{2, 0.5, 1.0};
  result.summary["overall"].acceptance_rate_per_position = {0.625};
  result.summary["overall"].mean_acceptance_length = 2.25;
  const std::string table = prediction_table({result});
  for (const char* value : {"0.625", "0.500", "1.000", "2.250", "1.750", "3.000"}) CHECK_THAT(table, Contains(value));
}

}  // namespace
}  // namespace foretell
