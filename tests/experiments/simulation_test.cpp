// What `foretell simulate` computes: lengths and times of policies over recorded accept lengths, counted by hand, and
// the oracle against every possible choice of lengths.
#include "experiments/analysis/simulation.h"

#include <functional>

#include "framework/api/policy.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell {
namespace {

AcceptRun run_of(std::vector<int> lengths) {
  const Tokens generated(lengths.size(), 5);
  return {.id = "a", .prompt = {1, 2}, .generated = generated, .arms = {{"x", std::move(lengths)}}};
}

const SimulatedPolicy& only(const Simulation& simulation) { return simulation.policies.front(); }

Simulation simulated(const std::vector<AcceptRun>& runs, const std::string& policy, double ratio, int depth) {
  return simulate(runs, "x", depth, ratio_costs(ratio), {{.description = parse_yaml(policy, "test")}});
}

// The least time of a run over all choices of lengths.
double least_time(const std::vector<int>& lengths, std::size_t at, int depth, double ratio) {
  if (at >= lengths.size()) return 0;
  double best = 1e9;
  for (int k = 0; k <= depth; ++k) {
    const std::size_t emitted =
        std::min(static_cast<std::size_t>(std::min(k, lengths[at] - 1)) + 1, lengths.size() - at);
    best = std::min(best, 1 + k * ratio + least_time(lengths, at + emitted, depth, ratio));
  }
  return best;
}

TEST_CASE("A fixed length meets the recorded lengths") {
  // Positions 0, 1 and 4: drafts of 2 emit 1, 3 and, where one token is left, 1.
  const Simulation simulation =
      simulated({run_of({1, 4, 3, 2, 1})}, "{type: fixed, num_speculative_tokens: 2}", 0.1, 3);
  const SimulatedPolicy& fixed = only(simulation);
  CHECK(fixed.rounds == 3);
  CHECK(fixed.tokens == 5);
  CHECK(fixed.accepted == 2);
  CHECK(fixed.drafted == 4);  // the last token needs no draft
  CHECK(*fixed.length.value == Approx(5.0 / 3));
  CHECK(*fixed.speedup.value == Approx(5 / (3 + 4 * 0.1)));
  CHECK(!fixed.speedup.interval);
}

TEST_CASE("No draft is plain decoding") {
  const Simulation simulation = simulated({run_of({3, 2, 1, 1})}, "{type: fixed, num_speculative_tokens: 0}", 0.5, 2);
  CHECK(only(simulation).rounds == 4);
  CHECK(*only(simulation).speedup.value == Approx(1));
}

TEST_CASE("A policy sees what its drafts became") {
  // Hugging Face's schedule: a whole draft makes the next one longer by two, any other shorter by one.
  const Simulation simulation =
      simulated({run_of(std::vector<int>(40, 1))}, "{type: hf_schedule, num_assistant_tokens: 4, floor: 1}", 0, 8);
  // 4 + 3 + 2 + 1 + 1 ..., nothing in the last round.
  CHECK(only(simulation).drafted == 4 + 3 + 2 + 36);
  CHECK(only(simulation).rounds == 40);
}

TEST_CASE("The oracle takes the least time that any lengths take") {
  for (const double ratio : {0.0, 0.05, 0.3, 0.9}) {
    for (const std::vector<int>& lengths :
         {std::vector<int>{1, 3, 2, 5, 1, 1, 2, 1}, std::vector<int>{2, 5, 1, 1, 1, 4, 3, 2, 1}, std::vector<int>{1}}) {
      const Simulation simulation = simulated({run_of(lengths)}, "{type: fixed, num_speculative_tokens: 2}", ratio, 4);
      const SimulatedPolicy& oracle = simulation.policies.back();
      CHECK(oracle.name == "oracle");
      CHECK(*oracle.speedup.value == Approx(static_cast<double>(lengths.size()) / least_time(lengths, 0, 4, ratio)));
      CHECK(*oracle.speedup.value >= *only(simulation).speedup.value - 1e-9);
      CHECK(oracle.accepted == oracle.drafted);
    }
  }
}

TEST_CASE("Every registered length policy is simulated, or says what it lacks") {
  std::vector<AcceptRun> runs;
  for (int i = 0; i < 8; ++i) runs.push_back(run_of({1, 3, 2, 1, 4 + i % 3, 3, 2, 1, 1, 2, 1}));
  const Simulation simulation = simulate(runs, "x", 4, ratio_costs(0.1), all_length_policies({1, 4}));
  REQUIRE(simulation.policies.size() == Registry<DraftPolicy>::instance().entries().size() - 1 + 3);
  for (const SimulatedPolicy& policy : simulation.policies) {
    CAPTURE(policy.name);
    if (!policy.unsupported.empty()) continue;
    CHECK(policy.tokens == 88);
    CHECK(policy.tokens == policy.rounds + policy.accepted);
    CHECK(*policy.speedup.value <= *simulation.policies.back().speedup.value + 1e-9);
    CHECK(policy.length.interval);
  }
}

TEST_CASE("A policy that is asked for and cannot be made is an Error") {
  CHECK_THROWS_AS(simulated({run_of({1})}, "{type: gone}", 0, 1), Error);
  CHECK_THROWS_AS(simulated({run_of({1})}, "{type: specdecpp}", 0, 1), Error);
}

TEST_CASE("Prompt lookup against recorded lengths") {
  // 1 2 3 9 8 | 1 2 3 9 8: behind "1 2 3" the leftmost match gives 9 8.
  const AcceptRun run{.id = "a",
                      .prompt = {1, 2, 3, 9, 8, 7},
                      .generated = {1, 2, 3, 9, 8, 4},
                      .arms = {{"ngram", {1, 1, 1, 3, 1, 1}}, {"other", {1}}}};
  const ConfigValue lookup = parse_yaml(
      "{type: prompt_lookup, prompt_lookup_min: 3, prompt_lookup_max: 7, num_speculative_tokens: 20, "
      "whole_continuation: false}",
      "test");
  const LookupAgreement same = lookup_agreement({run}, "ngram", lookup);
  CHECK(same.positions == 6);
  CHECK(same.equal == 5);  // behind "2 3 9" 8 is right as well
  CHECK(same.equal_prompts == 0);
  CHECK(lookup_agreement({run}, "other", lookup).other_generations == 1);
  CHECK_THROWS_AS(lookup_agreement({run}, "ngram", parse_yaml("{type: token_recycling}", "test")), Error);
}

}  // namespace
}  // namespace foretell
