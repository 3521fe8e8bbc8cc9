// What policies cost and gain, in the time that a table says: a drafter that never helps, one that does, and bandits in
// a stationary world.
#include <cmath>
#include <map>
#include <random>

#include "experiments/certify/toy_pipeline.h"
#include "tests/policies/driver.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using certify::Setup;

constexpr int kTokens = 2000;

// Rows are nearly free, as where memory limits; and dear, as where arithmetic does.
const std::map<std::string, std::shared_ptr<const RowCosts>>& machines() {
  static const std::map<std::string, std::shared_ptr<const RowCosts>> all = {
      {"rows nearly free",
       std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {2, 10.2}, {4, 10.6}, {8, 11.5}, {16, 13.5}, {64, 25}},
                                  std::vector<RowCost>{{1, 1}, {64, 1.6}, {512, 4}})},
      {"rows dear", std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {2, 17}, {4, 30}, {8, 56}, {64, 440}},
                                               std::vector<RowCost>{{1, 2}, {2, 2.6}, {64, 20}, {512, 150}})}};
  return all;
}

// The time of an answer of 2,000 tokens over that of plain decoding, from its rounds; the draft model reads the prompt
// and whatever it has missed before it drafts.
double relative_time(const std::string& policy, double acceptance, const std::shared_ptr<const RowCosts>& costs,
                     int prompt_tokens = 200) {
  const Setup setup =
      certify::toy_setup(fmt::format("{{type: oracle, acceptance_rate: {}, num_speculative_tokens: 8}}", acceptance),
                         "rejection", "", certify::toy_target(), {policy, costs});
  Request request{.prompt = Tokens(static_cast<std::size_t>(prompt_tokens), 3), .max_new_tokens = kTokens, .seed = 4};
  double time = 0;
  int read = 0;
  certify::RunOptions options;
  options.decoder.on_round = [&](const RoundEvent& event) {
    const RoundRecord& record = event.record;
    time += costs->target(record.scored);
    if (record.drafted == 0) return;
    const int committed = static_cast<int>(event.view.committed.size()) - record.emitted;
    time += costs->draft(committed - read) + (record.depth - 1) * costs->draft(1);
    read = committed;
  };
  const Generation answer = certify::run(setup, {request}, options).front();
  REQUIRE(answer.tokens.size() == kTokens);
  return time / (kTokens * costs->target(1));
}

const std::vector<std::string>& adaptive_policies() {
  static const std::vector<std::string> all = {"cost_model",
                                               "goodput",
                                               "batch_budget",
                                               "{type: ucb, reward: modelled}",
                                               "{type: exp3, reward: modelled}",
                                               "{type: thompson, reward: modelled}",
                                               "{type: hf_schedule, floor: 0}"};
  return all;
}

TEST_CASE("a drafter that never helps costs an adaptive policy less than 3%", "[policies]") {
  for (const auto& [machine, costs] : machines())
    for (const std::string& policy : adaptive_policies()) {
      const double time = relative_time(policy, 0.0, costs);
      INFO(machine << ", " << policy << ": " << time);
      if (policy.find("hf_schedule") != std::string::npos && machine == "rows dear") {
        CHECK(time < 1.05);  // it knows no costs and comes down one token a round
        continue;
      }
      CHECK(time <= 1.03);
      CHECK(relative_time(policy, 0.15, costs) <= 1.03);
    }
}

TEST_CASE("a drafter that helps is used about as well as by the best fixed depth", "[policies]") {
  const auto& costs = machines().at("rows nearly free");
  double best = 1;
  for (int depth = 1; depth <= 8; ++depth)
    best =
        std::min(best, relative_time(fmt::format("{{type: fixed, num_speculative_tokens: {}}}", depth), 0.85, costs));
  REQUIRE(best < 0.5);
  for (const std::string& policy : adaptive_policies()) {
    const double time = relative_time(policy, 0.85, costs);
    INFO(policy << ": " << time << ", best " << best);
    CHECK(time <= best * (policy.find("exp3") != std::string::npos ? 1.6 : 1.15));
  }
}

TEST_CASE("a drafter that begins to help is taken up again", "[policies]") {
  for (const std::string& yaml : adaptive_policies()) {
    const auto policy = make_policy(yaml, machines().at("rows nearly free"));
    PolicyDriver driver(*policy, 8);
    std::mt19937 random(6);
    int drafted = 0;
    for (int round = 0; round < 12000; ++round) {
      const int depth = driver.plan_one();
      int accepted = 0;
      while (accepted < depth && round >= 2000 && random() % 10 < 9) ++accepted;
      driver.observe(chain_round(depth, accepted));
      if (round >= 10000) drafted += depth;
    }
    INFO(yaml);
    CHECK(drafted / 2000.0 > 2);
  }
}

// Plays `rounds` rounds and returns how often each depth was played in the second half.
std::map<int, double> play(DraftPolicy& policy, double acceptance, const RowCosts& costs, int rounds, bool timed) {
  PolicyDriver driver(policy, 8);
  std::mt19937 random(8);
  std::map<int, double> shares;
  for (int round = 0; round < rounds; ++round) {
    const int depth = driver.plan_one();
    int accepted = 0;
    while (accepted < depth && random() % 100000 < acceptance * 100000) ++accepted;
    RoundRecord record = chain_round(depth, accepted);
    if (timed) {
      record.ns.draft = static_cast<std::int64_t>(1e4 * depth * costs.draft(1));
      record.ns.score =
          static_cast<std::int64_t>(1e4 * costs.target(depth + 1) * (0.95 + 0.1 * (random() % 1000) / 1000));
    }
    driver.observe(record);
    if (2 * round >= rounds) shares[depth] += 2.0 / rounds;
  }
  return shares;
}

TEST_CASE("bandits settle on the best arm, by modelled and by measured time", "[policies]") {
  // Acceptance 0.95 makes 8 the best of 0, 1, 2, 4, 8 where rows are cheap; 0.5 makes 0 the best where they are dear.
  const auto &cheap = machines().at("rows nearly free"), &dear = machines().at("rows dear");
  for (const char* name : {"ucb", "thompson", "exp3"}) {
    const bool slow = std::string(name) == "exp3";
    for (const char* reward : {"modelled", "measured"}) {
      const std::string yaml = fmt::format("{{type: {}, reward: {}}}", name, reward);
      const bool timed = std::string(reward) == "measured";
      const auto first = make_policy(yaml, cheap), second = make_policy(yaml, dear);
      const auto shares = play(*first, 0.95, *cheap, slow ? 20000 : 4000, timed);
      INFO(yaml << ": 8 was played " << shares.at(8));
      CHECK(shares.at(8) > (slow ? 0.6 : 0.8));
      CHECK(play(*second, 0.5, *dear, slow ? 20000 : 4000, timed).at(0) > 0.9);
    }
  }
}

TEST_CASE("UCB's radius is each arm's own: an arm that was unlucky at first is tried again", "[policies]") {
  // Two rounds of bad luck with depth 4, then it is by far the best. A radius that all arms share would never come back
  // to it.
  const auto& costs = machines().at("rows nearly free");
  const auto policy = make_policy("{type: ucb, reward: modelled, depths: [0, 1, 4], memory: 1}", costs);
  PolicyDriver driver(*policy, 8);
  int with_four = 0, late = 0;
  for (int round = 0; round < 3000; ++round) {
    const int depth = driver.plan_one();
    const bool unlucky = depth == 4 && ++with_four <= 2;
    driver.observe(chain_round(depth, unlucky ? 0 : depth));
    if (round >= 2000) late += depth == 4 ? 1 : 0;
  }
  CHECK(late > 900);
}

TEST_CASE("bandits need 0 among their arms", "[policies]") {
  CHECK_THROWS_WITH(make_policy("{type: ucb, depths: [1, 2]}"),
                    Catch::Contains("0 (no speculation) must be among them"));
  CHECK_THROWS_WITH(make_policy("{type: exp3, depths: [0, 2, 2]}"), Catch::Contains("twice"));
}

}  // namespace
}  // namespace foretell::testing
