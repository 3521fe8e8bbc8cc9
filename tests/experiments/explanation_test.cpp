#include "experiments/analysis/explanation.h"

#include "framework/core/config_value.h"
#include "tests/support/catch.h"

using namespace foretell;

namespace {

CellResult measured_cell(const std::string& settings, double acceptance_length, double speedup) {
  CellResult result;
  result.cell.name = "cell";
  result.cell.settings = parse_yaml(settings, "settings");
  if (const ConfigValue* temperature = result.cell.settings.find("sampling.temperature"))
    result.cell.group = temperature->text();
  TaskSummary& overall = result.summary["overall"];
  overall.mean_acceptance_length = acceptance_length;
  overall.speedup = speedup;
  overall.judgement.verdict = speedup > 1 ? SpeedupVerdict::Faster : SpeedupVerdict::Slower;
  overall.baseline_decode_tokens_per_second = 100.0;
  overall.decode_tokens_per_second = 100.0 * speedup;
  overall.phases = {.draft = 25, .score = 75, .verify = 0, .commit = 0};
  return result;
}

}  // namespace

TEST_CASE("The winner is named with its reason, the worst loser too, apart for each temperature") {
  const std::string text = explain({measured_cell("{pipeline.drafter.k: 2, sampling.temperature: 0.0}", 3.0, 1.5),
                                    measured_cell("{pipeline.drafter.k: 8, sampling.temperature: 0.0}", 4.0, 0.5),
                                    measured_cell("{pipeline.drafter.k: 2, sampling.temperature: 1.0}", 2.0, 0.8)});
  CHECK(text ==
        "temperature=0.0: k=2 wins, 1.50x: a round emits 3.00 tokens and takes as long as 2.00 plain ones (draft 0.50, "
        "score 1.50, the rest "
        "0.00). k=8 loses, 0.50x: a round emits 4.00 tokens and takes as long as 8.00 plain ones (draft 2.00, score "
        "6.00, the rest 0.00).\n"
        "temperature=1.0: nothing beats plain decoding; k=2 comes nearest, 0.80x: a round emits 2.00 tokens and takes "
        "as long as 2.50 plain "
        "ones (draft 0.62, score 1.88, the rest 0.00).\n");
}

TEST_CASE("Nothing is said of baselines and of recorded answers") {
  CellResult baseline = measured_cell("{pipeline.drafter.k: 2}", 1.0, 1.0),
             recorded = measured_cell("{pipeline.drafter.k: 2}", 2.0, 2.0);
  baseline.cell.is_baseline = true;
  recorded.timed = false;
  CHECK(explain({baseline, recorded}).empty());
}

TEST_CASE(
    "Only a verdict wins: what was not judged comes first, what contradicts the clock or was fed in is in no order") {
  const auto with = [](CellResult result, std::optional<SpeedupVerdict> verdict, const char* words = "") {
    result.summary["overall"].judgement = {verdict, words};
    return result;
  };
  const CellResult best = measured_cell("{pipeline.drafter.k: 2}", 3.0, 1.5),
                   second = measured_cell("{pipeline.drafter.k: 4}", 3.0, 1.2),
                   slow = measured_cell("{pipeline.drafter.k: 8}", 2.0, 0.9);
  CHECK_THAT(explain({with(best, {}, "not judged: fewer than 8 prompts; 1.5x, 95 % interval 1 to 2 over 6 prompts"),
                      with(slow, {})}),
             Catch::Matchers::StartsWith("k=2 comes first (not judged: fewer than 8 prompts), 1.50x: ") &&
                 !Catch::Matchers::Contains("wins") && !Catch::Matchers::Contains("loses"));
  CHECK_THAT(explain({with(best, SpeedupVerdict::NoDifferenceShown), second}),
             Catch::Matchers::StartsWith("k=4 wins, 1.20x: "));
  CHECK_THAT(explain({with(slow, SpeedupVerdict::NoDifferenceShown)}),
             Catch::Matchers::StartsWith("nothing is shown to beat plain decoding; k=8 comes nearest, 0.90x: "));
  const std::string doubtful = explain({with(best, SpeedupVerdict::UnreliableTiming), second});
  CHECK_THAT(doubtful, Catch::Matchers::StartsWith("k=4 wins, 1.20x: ") &&
                           Catch::Matchers::EndsWith(" unreliable timing, so nothing is said of it: k=2.\n"));
  CHECK(explain({with(best, SpeedupVerdict::UnreliableTiming)}) ==
        "unreliable timing, so nothing is said of it: k=2.\n");
  CellResult fed = best;
  fed.cell.pipeline.drafter =
      parse_yaml("{type: first_of, drafters: [{type: oracle}, {type: prompt_lookup}]}", "drafter");
  CHECK(explain({fed}) == "its acceptance was given, so it is in no order: k=2.\n");
}
