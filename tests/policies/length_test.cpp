// Each length policy against its formula, computed here a second time.
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "framework/core/error.h"
#include "framework/decoding/bases/acceptance_estimate.h"
#include "framework/decoding/bases/loss_limit.h"
#include "framework/formats/safetensors.h"
#include "framework/formats/stored_numbers.h"
#include "tests/policies/driver.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

DraftStep step_at(int depth, const Distribution* distribution, double last_probability = 1) {
  return {0, depth, distribution, 1.0, last_probability};
}

PolicyView view_of(SlotId slot, std::uint64_t request, int generated) {
  return {slot, request, 10 + generated, generated, 100, 1};
}

void begin(DraftPolicy& policy, const PolicyView& view, int limit = 8) {
  DraftBudget budget{limit, limit, 1};
  policy.plan(std::span(&view, 1), std::span(&budget, 1));
}

TEST_CASE("Hugging Face's heuristic: 2 more after a whole draft, 1 less after any other, down to 1", "[policies]") {
  const auto policy = make_policy("{type: hf_schedule, num_assistant_tokens: 5}");
  PolicyDriver driver(*policy, 8);
  CHECK(driver.plan_one() == 5);
  driver.observe(chain_round(5, 5));
  CHECK(driver.plan_one() == 7);
  driver.observe(chain_round(7, 7));
  CHECK(driver.plan_one() == 8);  // the drafter's limit
  driver.observe(chain_round(8, 3));
  CHECK(driver.plan_one() == 7);
  for (int i = 0; i < 20; ++i) driver.observe(chain_round(driver.plan_one(), 0));
  CHECK(driver.plan_one() == 1);
  // The next prompt goes on from here.
  PolicyDriver next(*policy, 8);
  CHECK(next.plan_one() == 1);
}

TEST_CASE("Hugging Face's other schedules", "[policies]") {
  const auto transient = make_policy("{type: hf_schedule, schedule: heuristic_transient, num_assistant_tokens: 3}");
  PolicyDriver first(*transient, 8);
  first.plan();
  first.observe(chain_round(3, 0));
  CHECK(first.plan_one() == 2);
  CHECK(PolicyDriver(*transient, 8).plan_one() == 3);
  const auto constant = make_policy("{type: hf_schedule, schedule: constant, num_assistant_tokens: 3}");
  PolicyDriver driver(*constant, 8);
  driver.plan();
  driver.observe(chain_round(3, 0));
  CHECK(driver.plan_one() == 3);
}

TEST_CASE("a schedule with floor 0 stops, tries ever more rarely, and comes back", "[policies]") {
  const auto policy = make_policy("{type: hf_schedule, num_assistant_tokens: 2, floor: 0}");
  PolicyDriver driver(*policy, 8);
  int drafted = 0, last_gap = 0, gap = 0;
  std::vector<int> gaps;
  for (int round = 0; round < 2000; ++round) {
    const int depth = driver.plan_one();
    driver.observe(chain_round(depth, 0));
    drafted += depth;
    ++gap;
    if (depth == 0) continue;
    gaps.push_back(gap);
    last_gap = gap;
    gap = 0;
  }
  CHECK(drafted <= 2 + 1 + 8);  // the start, then at intervals of 16, 32, 64, ... rounds
  CHECK(last_gap > 200);
  int waited = 0;
  while (driver.plan_one() == 0) {
    driver.observe(chain_round(0, 0));
    REQUIRE(++waited < 600);
  }
  driver.observe(chain_round(1, 1));
  CHECK(driver.plan_one() == 1);
}

TEST_CASE("confidence stops after an unlikely token, never before the first", "[policies]") {
  const auto policy = make_policy("{type: confidence, assistant_confidence_threshold: 0.4}");
  CHECK(policy->wants_probs());
  CHECK(policy->should_continue(step_at(1, nullptr)));
  CHECK(policy->should_continue(step_at(2, nullptr, 0.4)));
  CHECK_FALSE(policy->should_continue(step_at(2, nullptr, 0.39)));
}

TEST_CASE("all_of gives the least of its members' budgets and goes on while all of them would", "[policies]") {
  const auto policy = make_policy(
      "{type: all_of, policies: [{type: batch_budget, num_speculative_tokens_per_batch_size: [[1, 1, 6], [2, 8, 2]]}, "
      "{type: hf_schedule, num_assistant_tokens_schedule: heuristic, num_assistant_tokens: 4}, {type: confidence, "
      "threshold: 0.4}]}");
  PolicyDriver one(*policy, 8);
  CHECK(one.plan_one() == 4);
  one.observe(chain_round(4, 4));  // a whole draft: the schedule goes to 6, as far as the table lets it
  CHECK(one.plan_one() == 6);
  one.observe(chain_round(6, 6));
  CHECK(one.plan_one() == 6);
  PolicyDriver two(*policy, 8, 2);
  CHECK(two.plan() == std::vector<int>{2, 2});
  CHECK(policy->wants_probs());
  CHECK(policy->should_continue(step_at(2, nullptr, 0.4)));
  CHECK_FALSE(policy->should_continue(step_at(2, nullptr, 0.39)));

  const auto chains = make_policy("{type: all_of, policies: [{type: fixed, num_speculative_tokens: 3}]}");
  CHECK_FALSE(chains->wants_probs());
  CHECK_FALSE(chains->wants_hidden_states());
  CHECK(PolicyDriver(*chains, 8).plan_one() == 3);
  CHECK(PolicyDriver(*chains, 2).plan_one() == 2);
}

// Stops at a depth, and notes at which depths it was asked and how many records it saw.
class NotingPolicy final : public DraftPolicy {
 public:
  struct Options {
    int deepest = 9;
    void declare(Parameters& p) { p.add("deepest", deepest, "that it goes on to"); }
  };
  NotingPolicy(const Options& options, const BuildContext&) : options_(options) {}
  void plan(std::span<const PolicyView>, std::span<DraftBudget>) override {}
  bool wants_hidden_states() const override { return true; }
  bool should_continue(const DraftStep& step) override {
    asked.push_back(step.depth);
    return step.depth <= options_.deepest;
  }
  void observe(std::span<const RoundRecord> records) override { observed += static_cast<int>(records.size()); }

  static inline std::vector<int> asked;
  static inline int observed = 0;

 private:
  Options options_;
};
FORETELL_REGISTER(DraftPolicy, NotingPolicy, "noting", {.summary = "notes what it is asked"});

TEST_CASE("all_of asks every member at every step and shows it every record", "[policies]") {
  const auto policy = make_policy("{type: all_of, policies: [{type: noting, deepest: 2}, {type: noting, deepest: 3}]}");
  CHECK(policy->wants_hidden_states());
  NotingPolicy::asked.clear();
  CHECK(policy->should_continue(step_at(2, nullptr)));
  CHECK_FALSE(policy->should_continue(step_at(3, nullptr)));
  CHECK_FALSE(policy->should_continue(step_at(4, nullptr)));
  CHECK(NotingPolicy::asked == std::vector<int>{2, 2, 3, 3, 4, 4});
  NotingPolicy::observed = 0;
  PolicyDriver driver(*policy, 8, 3);
  driver.plan();
  driver.observe({chain_round(2, 1), chain_round(2, 2), chain_round(0, 0)});
  CHECK(NotingPolicy::observed == 6);
}

TEST_CASE("mistakes in the members of all_of are told", "[policies]") {
  CHECK(error_of([] {
          make_policy("{type: all_of, policies: []}");
        }).find("policy.yaml:1: policies: expected a list") == 0);
  CHECK(error_of([] { make_policy("{type: all_of, policies: {type: fixed}}"); }).find("policy.yaml:1") == 0);
  CHECK(error_of([] { make_policy("{type: all_of, policies: [fixed, goodputt]}"); }).find("goodput") !=
        std::string::npos);
}

TEST_CASE("the entropy bounds of SVIP and AdaEDL", "[policies]") {
  std::mt19937 random(3);
  const auto svip = make_policy("{type: svip, entropy_factor: 0.15, threshold: 0.3}");
  const auto adaedl = make_policy("{type: adaedl, entropy_factor: 0.2, threshold: 0.6}");
  begin(*adaedl, view_of(0, 1, 0));
  int stopped = 0;
  for (int i = 0; i < 200; ++i) {
    std::vector<double> weights;
    for (int t = 0; t < 6; ++t) weights.push_back(std::exp(14.0 * (random() % 1000) / 1000));
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    double entropy = 0;
    for (const double w : weights) entropy -= w / sum * std::log(w / sum);
    const Distribution distribution = Distribution::dense(weights);
    CHECK(svip->should_continue(step_at(3, &distribution)) == (std::sqrt(0.15 * entropy) <= 0.3));
    CHECK(adaedl->should_continue(step_at(3, &distribution)) == (1 - std::sqrt(0.2 * entropy) >= 0.6));
    stopped += svip->should_continue(step_at(3, &distribution)) ? 0 : 1;
  }
  CHECK(stopped > 10);
  CHECK(stopped < 200);
  CHECK(svip->should_continue(step_at(3, nullptr)));
  CHECK(make_policy("{type: svip, threshold: 0, min_tokens: 2}")->should_continue(step_at(2, nullptr)));
}

TEST_CASE("AdaEDL's threshold follows the acceptance of its own sequence", "[policies]") {
  const auto policy = make_policy(
      "{type: adaedl, entropy_factor: 0.2, threshold: 0.5, target_acceptance_rate: 0.9, step: 0.1, threshold_memory: "
      "0.5, "
      "rate_memory: 0.5}");
  // Entropy for which 1 - sqrt(0.2 H) is just above 0.5: one rejected draft raises lambda above it.
  const Distribution distribution = Distribution::dense({0.5, 0.25, 0.125, 0.125});
  const double bound = 1 - std::sqrt(0.2 * distribution.entropy());
  double lambda = 0.5, rate = 0.9;
  const auto follow = [&](int drafted, int accepted) {
    if (drafted > 0) rate = 0.5 * rate + 0.5 * accepted / drafted;
    lambda = 0.5 * lambda + 0.5 * (lambda + (drafted > 0 && rate < 0.9 ? 0.1 : -0.1));
  };
  int generated = 0;
  std::vector<std::pair<int, int>> rounds = {{4, 0}, {4, 4}, {2, 2}, {2, 2}, {0, 0}, {3, 0}};
  rounds.insert(rounds.end(), 10, {2, 2});  // until it is below the bound again
  std::vector<bool> drafts;
  for (const auto& [drafted, accepted] : rounds) {
    begin(*policy, view_of(0, 1, generated));
    drafts.push_back(policy->should_continue(step_at(2, &distribution)));
    CHECK(drafts.back() == (bound >= lambda));
    policy->observe(std::vector<RoundRecord>{chain_round(drafted, accepted)});
    follow(drafted, accepted);
    generated += accepted + 1;
  }
  CHECK(drafts.front());
  CHECK_FALSE(drafts[1]);
  CHECK(drafts.back());
  // The same request again, in the next repeat, starts anew; so does another one in the same slot.
  for (const PolicyView& view : {view_of(0, 1, 0), view_of(0, 2, 0)}) {
    begin(*policy, view);
    CHECK(policy->should_continue(step_at(2, &distribution)) == (bound >= 0.5));
  }
}

// Tensors of a head: random, but for what a test replaces.
std::vector<NewTensor> head_tensors(int blocks, int width, std::vector<std::vector<float>>& values) {
  std::mt19937 random(5);
  std::vector<NewTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
    std::vector<float> numbers;
    for (std::size_t i = 0; i < count; ++i) numbers.push_back(static_cast<float>(random() % 2000) / 1000.0F - 1.0F);
    values.push_back(numbers);
    tensors.push_back({name, StoredType::F32, std::move(shape), [numbers](std::span<std::byte> to) {
                         for (std::size_t i = 0; i < numbers.size(); ++i)
                           write_stored(StoredType::F32, numbers[i], &to[4 * i]);
                       }});
  };
  for (int i = 0; i < blocks; ++i) {
    add(fmt::format("model.{}.linear.weight", i), {width, width});
    add(fmt::format("model.{}.linear.bias", i), {width});
  }
  add(fmt::format("model.{}.weight", blocks), {2, width});
  add(fmt::format("model.{}.bias", blocks), {2});
  return tensors;
}

double reference_acceptance(const std::vector<std::vector<float>>& values, int blocks, std::vector<double> x) {
  const std::size_t width = x.size();
  const auto product = [&](const std::vector<float>& w, const std::vector<float>& b) {
    std::vector<double> y(b.begin(), b.end());
    for (std::size_t r = 0; r < y.size(); ++r)
      for (std::size_t c = 0; c < width; ++c) y[r] += static_cast<double>(w[r * width + c]) * x[c];
    return y;
  };
  for (int i = 0; i < blocks; ++i) {
    const auto y = product(values[static_cast<std::size_t>(2 * i)], values[static_cast<std::size_t>(2 * i + 1)]);
    for (std::size_t r = 0; r < width; ++r) x[r] += y[r] / (1 + std::exp(-y[r]));
  }
  const auto out = product(values[values.size() - 2], values.back());
  return std::exp(out[1]) / (std::exp(out[0]) + std::exp(out[1]));
}

TEST_CASE("SpecDec++ stops when its head holds a rejection for likely", "[policies]") {
  const TemporaryFolder folder;
  std::vector<std::vector<float>> values;
  write_safetensors(folder.path() / "model.safetensors", head_tensors(2, 3, values));
  const auto policy = make_policy(
      "{type: specdecpp, min_tokens: 2, max_tokens: 6, threshold: 0.6, head: " + folder.path().string() + "}");
  CHECK(policy->wants_hidden_states());
  PolicyDriver driver(*policy, 20);
  CHECK(driver.plan_one() == 6);
  std::mt19937 random(9);
  int stopped = 0;
  for (int draft = 0; draft < 30; ++draft) {
    double all_accepted = 1;
    CHECK(policy->should_continue(step_at(1, nullptr)));
    for (int depth = 2; depth <= 6; ++depth) {
      std::vector<float> state;
      for (int i = 0; i < 3; ++i) state.push_back(static_cast<float>(random() % 1000) / 500.0F - 1.0F);
      all_accepted *= reference_acceptance(values, 2, {state.begin(), state.end()});
      DraftStep step = step_at(depth, nullptr);
      step.hidden = state;
      const bool expected = depth <= 2 || 1 - all_accepted <= 0.6;
      CHECK(policy->should_continue(step) == expected);
      stopped += expected ? 0 : 1;
      if (!expected) break;
    }
  }
  CHECK(stopped > 0);
  DraftStep wrong = step_at(2, nullptr);
  const std::vector<float> five(5);
  wrong.hidden = five;
  CHECK(error_of([&] { policy->should_continue(wrong); }) ==
        "policy.yaml:1: policy 'specdecpp': the head reads states of 3 numbers, the draft model's have 5");
}

TEST_CASE("mistakes in an acceptance head are told", "[policies]") {
  const TemporaryFolder folder;
  const auto error = [&](const std::vector<NewTensor>& tensors) {
    write_safetensors(folder.path() / "head.safetensors", tensors);
    return error_of(
        [&] { make_policy("{type: specdecpp, head: " + (folder.path() / "head.safetensors").string() + "}"); });
  };
  std::vector<std::vector<float>> values;
  auto tensors = head_tensors(1, 3, values);
  CHECK(error(tensors).empty());
  // A block that the file leaves out is the one before it.
  auto tied = tensors;
  tied[2].name = "model.3.weight";
  tied[3].name = "model.3.bias";
  CHECK(error(tied).empty());
  auto no_bias = tensors;
  no_bias.pop_back();
  CHECK(error(no_bias).find("model.1.bias") != std::string::npos);
  auto narrow = head_tensors(1, 2, values);
  narrow.erase(narrow.begin() + 2, narrow.end());
  narrow.push_back(tensors[2]);
  narrow.push_back(tensors[3]);
  CHECK(error(narrow).find("model.0.linear.weight has shape [2, 2], expected [3, 3]") != std::string::npos);
  CHECK(error({tensors[0]}).find("no acceptance head") != std::string::npos);
  CHECK(error_of([] { make_policy("{type: specdecpp, head: nowhere}"); }) ==
        "policy.yaml:1: head: nowhere does not exist");
  CHECK(error_of([] { make_policy("{type: specdecpp}"); }).find("head") != std::string::npos);
}

TEST_CASE("acceptance is estimated from what was observed, not from what lay behind a rejection", "[policies]") {
  // True acceptance 0.9, 0.5, 0.8. Counting drafted tokens would put depth 3 at 0.36.
  const std::vector<double> rates = {0.9, 0.5, 0.8};
  AcceptanceEstimate estimate({.prior_rate = 0.5, .prior_weight = 1, .memory = 1});
  std::mt19937 random(1);
  for (int round = 0; round < 40000; ++round) {
    int accepted = 0;
    while (accepted < 3 && random() % 10000 < rates[static_cast<std::size_t>(accepted)] * 10000) ++accepted;
    estimate.observe(chain_round(3, accepted));
  }
  for (int depth = 1; depth <= 3; ++depth)
    CHECK(estimate.at(depth) == Approx(rates[static_cast<std::size_t>(depth) - 1]).margin(0.01));
  CHECK(estimate.expected_emitted(3) == Approx(1 + 0.9 + 0.45 + 0.36).margin(0.02));
  // Not drafted yet: what is known of the depth before.
  CHECK(estimate.at(4) == Approx(estimate.at(3)).margin(1e-12));

  AcceptanceEstimate two({.prior_rate = 0.5, .prior_weight = 2, .memory = 1});
  two.observe(chain_round(4, 1));
  CHECK(two.at(1) == Approx((1 + 2 * 0.5) / (1 + 2)));
  CHECK(two.at(2) == Approx((0 + 2 * two.at(1)) / (1 + 2)));
  // An answer that ends inside the accepted tokens rejects nothing.
  RoundRecord cut = chain_round(4, 2);
  cut.emitted = 2;
  const double before = two.at(3);
  two.observe(cut);
  CHECK(two.at(3) > before * 0.99);
}

// A table in which a row of the target costs more the more there are, and a draft step a tenth of a plain round.
std::shared_ptr<const RowCosts> bent_costs() {
  return std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {2, 11}, {4, 13}, {8, 20}, {16, 40}, {64, 170}},
                                    std::vector<RowCost>{{1, 1}, {8, 1.5}, {64, 6}});
}

TEST_CASE("cost_model finds the depth that brute force finds", "[policies]") {
  const auto costs = bent_costs();
  std::mt19937 random(11);
  std::vector<int> found(9);
  for (int trial = 0; trial < 60; ++trial) {
    const auto policy = make_policy("{type: cost_model, prior_weight: 0.01, memory: 1, head_start: 1000000}", costs);
    PolicyDriver driver(*policy, 8, 1, 8, 400);
    const double rate = 0.02 + 0.97 * (random() % 1000) / 1000;
    std::vector<double> accepts(9), trials(9);
    int read = 0;
    for (int round = 0; round < 12; ++round) {
      driver.plan();
      read = driver.committed(0);
      int accepted = 0;
      while (accepted < 8 && random() % 1000 < rate * 1000) ++accepted;
      for (int i = 1; i <= std::min(8, accepted + 1); ++i) {
        trials[static_cast<std::size_t>(i)] += 1;
        accepts[static_cast<std::size_t>(i)] += i <= accepted ? 1 : 0;
      }
      driver.observe(chain_round(8, accepted));
    }
    const double unread = driver.committed(0) - read;
    double before = 0.7, product = 1, emitted = 1, least = driver.remaining(0) * costs->target(1);
    int best = 0;
    for (int depth = 1; depth <= 8; ++depth) {
      const auto i = static_cast<std::size_t>(depth);
      before = (accepts[i] + 0.01 * before) / (trials[i] + 0.01);
      emitted += product *= before;
      const double time = driver.remaining(0) * (depth * costs->draft(1) + costs->target(depth + 1)) / emitted +
                          costs->draft(std::max(1.0, unread)) - costs->draft(1);
      if (time >= least) continue;
      least = time;
      best = depth;
    }
    const int planned = driver.plan_one();
    CHECK(planned == best);
    ++found[static_cast<std::size_t>(planned)];
  }
  CHECK(found[0] > 0);
  CHECK(std::count_if(found.begin(), found.end(), [](int n) { return n > 0; }) >= 3);
}

TEST_CASE("a draft model that has much to read is not started for a short rest", "[policies]") {
  const auto costs =
      std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {8, 11}}, std::vector<RowCost>{{1, 1}, {1001, 101}});
  const std::string yaml = "{type: cost_model, prior_acceptance: 0.8}";
  const auto policy = make_policy(yaml, costs), other = make_policy(yaml, costs);
  CHECK(PolicyDriver(*policy, 4, 1, 1000, 500).plan_one() > 0);
  CHECK(PolicyDriver(*other, 4, 1, 1000, 10).plan_one() == 0);
}

TEST_CASE("goodput takes the batch's best depth, and none when the batch is large", "[policies]") {
  const auto costs = std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {8, 11}, {16, 18}, {32, 36}, {256, 288}},
                                                std::vector<RowCost>{{1, 1}, {64, 2}});
  for (const int batch : {1, 2, 4, 16, 32}) {
    const auto policy = make_policy("{type: goodput, prior_weight: 0.01, memory: 1, head_start: 1000000}", costs);
    PolicyDriver driver(*policy, 6, batch);
    std::vector<double> accepts(static_cast<std::size_t>(batch)), trials(accepts);
    std::mt19937 random(2);
    for (int round = 0; round < 12; ++round) {  // fewer than it waits before it tries, where it would not draft
      driver.plan();
      std::vector<RoundRecord> records;
      for (int r = 0; r < batch; ++r) {
        int accepted = 0;
        while (accepted < 6 && random() % 10 < (r % 2 == 0 ? 8u : 5u)) ++accepted;
        records.push_back(chain_round(6, accepted));
        accepts[static_cast<std::size_t>(r)] += accepted;
        trials[static_cast<std::size_t>(r)] += std::min(accepted + 1, 6);
      }
      driver.observe(records);
    }
    int best = 0;
    double highest = 0;
    for (int k = 0; k <= 6; ++k) {
      double emitted = 0;
      for (std::size_t r = 0; r < accepts.size(); ++r) {
        const double a = accepts[r] / trials[r];
        emitted += a >= 1 ? k + 1 : (1 - std::pow(a, k + 1)) / (1 - a);
      }
      const double goodput = emitted / (costs->target(batch * (k + 1)) + k * costs->draft(batch));
      if (goodput > highest * (1 + 1e-12)) {
        highest = goodput;
        best = k;
      }
    }
    INFO("batch " << batch);
    CHECK(driver.plan() == std::vector<int>(static_cast<std::size_t>(batch), best));
    if (batch == 1) CHECK(best >= 2);
    if (batch == 32) CHECK(best == 0);
  }
}

TEST_CASE("batch_budget by vLLM's table", "[policies]") {
  const std::string yaml =
      "{type: batch_budget, num_speculative_tokens_per_batch_size: [[1, 2, 5], [3, 4, 2], [5, 8, 0]]}";
  const auto policy = make_policy(yaml);
  CHECK(PolicyDriver(*policy, 8, 1).plan_one() == 5);
  CHECK(PolicyDriver(*policy, 8, 2).plan_one() == 5);
  CHECK(PolicyDriver(*policy, 8, 4).plan_one() == 2);
  CHECK(PolicyDriver(*policy, 8, 8).plan_one() == 0);
  CHECK(PolicyDriver(*policy, 8, 20).plan_one() == 0);  // the last row
  const auto wrong = [](const std::string& table) {
    return error_of([&] { make_policy("type: batch_budget\nnum_speculative_tokens_per_batch_size:\n" + table); });
  };
  CHECK(wrong("  - [1, 2, 5]\n  - [4, 8, 1]\n")
            .find("policy.yaml:4: num_speculative_tokens_per_batch_size: a row from 4 to 8 where one from 3 is due") ==
        0);
  CHECK(wrong("  - [2, 8, 1]\n").find("where one from 1 is due") != std::string::npos);
  CHECK(wrong("  - [1, 8]\n").find("policy.yaml:3:") == 0);
  CHECK(wrong("  - [1, 8, x]\n").find("policy.yaml:3:") == 0);
  CHECK(wrong("  7\n").find("expected rows") != std::string::npos);
}

TEST_CASE("batch_budget by cost gives rows to the sequences that use them", "[policies]") {
  const auto costs =
      std::make_shared<RowCosts>(std::vector<RowCost>{{1, 10}, {6, 11}, {12, 30}}, std::vector<RowCost>{{1, 0.1}});
  const auto policy = make_policy("{type: batch_budget, prior_weight: 0.01, memory: 1, head_start: 1000000}", costs);
  PolicyDriver driver(*policy, 4, 2);
  for (int round = 0; round < 20; ++round) {
    driver.plan();
    driver.observe({chain_round(4, round % 5 == 0 ? 3 : 4), chain_round(4, 0)});
  }
  const std::vector<int> depths = driver.plan();
  CHECK(depths == std::vector<int>{4, 0});
}

TEST_CASE("a loss limit allows what was won before, a head start and a share", "[policies]") {
  LossLimit limit({.max_loss = 0.1, .head_start = 2});
  CHECK(limit.allows(2));
  CHECK_FALSE(limit.allows(2.01));
  limit.add(1, 3);  // a round of one token in the time of three: 2 lost, and 0.1 for its one token
  CHECK(limit.allows(0.09));
  CHECK_FALSE(limit.allows(0.11));
  limit.add(5, 2);
  CHECK(limit.allows(3.5));
}

}  // namespace
}  // namespace foretell::testing
