// Rules of mixtures of experts, beside the checkpoint's own and beside what other programs computed.
#include <nlohmann/json.hpp>

#include "framework/api/build_context.h"
#include "framework/api/router.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

std::unique_ptr<Router> router(const std::string& yaml) {
  return Registry<Router>::instance().make(parse_yaml(yaml, "router.yaml"), {});
}

std::vector<float> random_logits(int count, std::uint64_t seed) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i) out.push_back(2 * normal_at(seed, static_cast<std::uint64_t>(i)));
  return out;
}

std::vector<ExpertRule> checkpoint_rules() {
  return {{.experts = 8, .experts_per_token = 2, .normalised = true},
          {.experts = 8, .experts_per_token = 3},
          {.experts = 8,
           .experts_per_token = 2,
           .score = GateScore::Sigmoid,
           .normalised = true,
           .scale = 2.5,
           .groups = 4,
           .groups_kept = 2}};
}

TEST_CASE("top_k without parameters is the checkpoint's own rule, biases and groups included") {
  const auto top_k = router("top_k");
  CHECK(top_k->row_independent());
  for (const ExpertRule& rule : checkpoint_rules())
    for (const bool biased : {false, true}) {
      const std::vector<float> logits = random_logits(8 * 40, 3),
                               bias = biased ? random_logits(8, 4) : std::vector<float>{};
      const RouterRows rows{.rows = 40, .logits = logits};
      const Routing own = route_by_rule(rows, {2, rule, bias}, rule), routed = top_k->route(rows, {2, rule, bias});
      CHECK(!top_k->unsupported_reason(rule));
      CHECK(own.per_row == routed.per_row);
      CHECK(own.experts == routed.experts);
      CHECK(own.weights == routed.weights);
    }
}

TEST_CASE("top_k takes other numbers of experts, and the softmax before or after them") {
  const ExpertRule rule = checkpoint_rules()[1];
  const std::vector<float> logits = random_logits(8 * 40, 5);
  const RouterRows rows{.rows = 40, .logits = logits};
  const auto route = [&](const std::string& yaml) { return router(yaml)->route(rows, {0, rule, {}}); };
  const Routing two = route("{type: top_k, k: 2}"), three = route("top_k");
  const Routing normalised = route("{type: top_k, k: 2, renormalise: true}");
  const Routing after = route("{type: top_k, k: 2, softmax: after}");
  REQUIRE(two.per_row == 2);
  for (std::size_t row = 0; row < 40; ++row) {
    const float sum = two.weights[2 * row] + two.weights[2 * row + 1];
    for (std::size_t i = 2 * row; i < 2 * row + 2; ++i) {
      CHECK(two.experts[i] == three.experts[i + row]);
      CHECK(two.weights[i] == three.weights[i + row]);
      CHECK(after.experts[i] == two.experts[i]);
      CHECK(after.weights[i] == Approx(normalised.weights[i]));
      CHECK(normalised.weights[i] == Approx(two.weights[i] / sum));
    }
  }
}

TEST_CASE("top_k says which checkpoints it does not fit") {
  const ExpertRule grouped = checkpoint_rules()[2];
  CHECK(router("{type: top_k, k: 9}")->unsupported_reason(checkpoint_rules()[0]) == "k: 9 of 8 experts");
  CHECK(router("{type: top_k, k: 5}")->unsupported_reason(grouped) == "k: 5 of 4 experts in the groups that are kept");
  CHECK(!router("{type: top_k, k: 4}")->unsupported_reason(grouped));
  CHECK(router("{type: top_k, softmax: after}")->unsupported_reason(grouped).value_or("").find("sigmoid") !=
        std::string::npos);
  CHECK_THROWS_AS(router("{type: top_k, k: 0}"), Error);
  CHECK_THROWS_AS(router("{type: top_k, softmax: both}"), Error);
}

TEST_CASE("routers route as another program does") {
  const auto file = data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(read_file(*file));
  const ExpertRule rule{.experts = 8, .experts_per_token = 2, .normalised = true};
  std::vector<float> logits;
  for (const auto& row : golden.at("logits")) {
    const auto values = row.get<std::vector<float>>();
    logits.insert(logits.end(), values.begin(), values.end());
  }
  const RouterRows rows{.rows = static_cast<int>(logits.size()) / 8, .logits = logits};
  const std::pair<const char*, const char*> pairs[] = {{"switch_top1", "{type: switch, capacity_factor: 0}"},
                                                       {"dynamic_top_p_0.4", "{type: top_p, p: 0.4}"},
                                                       {"dynamic_skip_beta_0.5", "{type: expert_skipping, beta: 0.5}"},
                                                       {"mixtral_top2", "top_k"}};
  for (const auto& [name, yaml] : pairs) {
    INFO(name);
    const auto made = router(yaml);
    CHECK(made->row_independent());
    const Routing routing = made->route(rows, {0, rule, {}});
    for (int row = 0; row < rows.rows; ++row) {
      std::vector<int> experts;
      std::vector<double> weights;
      for (int i = row * routing.per_row; i < (row + 1) * routing.per_row; ++i) {
        if (routing.experts[static_cast<std::size_t>(i)] < 0) continue;
        experts.push_back(routing.experts[static_cast<std::size_t>(i)]);
        weights.push_back(routing.weights[static_cast<std::size_t>(i)]);
      }
      const auto& expected = golden.at(name).at(static_cast<std::size_t>(row));
      CHECK(experts == expected.at("idx").get<std::vector<int>>());
      for (std::size_t i = 0; i < weights.size(); ++i)
        CHECK(weights[i] == Approx(expected.at("w").at(i).get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("an expert of switch takes its capacity of a forward's rows, the first ones") {
  const ExpertRule rule{.experts = 4, .experts_per_token = 1};
  std::vector<float> logits;
  for (int row = 0; row < 6; ++row) logits.insert(logits.end(), {2, 0, 0, 0});
  const auto full = router("{type: switch, capacity_factor: 2}");
  CHECK_FALSE(full->row_independent());
  CHECK(full->route({6, logits}, {0, rule, {}}).experts == std::vector<int>{0, 0, 0, -1, -1, -1});
  CHECK(router("{type: switch, capacity_factor: 1}")->route({6, logits}, {0, rule, {}}).experts ==
        std::vector<int>{0, 0, -1, -1, -1, -1});
}

}  // namespace
}  // namespace foretell::testing
