// Rules of mixtures of experts, beside the checkpoint's own and beside what other programs computed.
#include <nlohmann/json.hpp>

#include <map>
#include <numeric>
#include <set>

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
                                                       {"mixtral_top2", "top_k"},
                                                       {"mixtral_top2", "{type: noisy_top_k, noise: 0}"}};
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

std::vector<float> golden_logits(const nlohmann::json& golden) {
  std::vector<float> logits;
  for (const auto& row : golden.at("logits")) {
    const auto values = row.get<std::vector<float>>();
    logits.insert(logits.end(), values.begin(), values.end());
  }
  return logits;
}

// The experts of a row with their weights, by expert.
std::map<int, double> experts_of(const Routing& routing, int row) {
  std::map<int, double> out;
  for (int i = row * routing.per_row; i < (row + 1) * routing.per_row; ++i)
    if (const int expert = routing.experts.at(static_cast<std::size_t>(i)); expert >= 0)
      out[expert] = routing.weights.at(static_cast<std::size_t>(i));
  return out;
}

void check_golden(const Routing& routing, const nlohmann::json& expected) {
  for (std::size_t row = 0; row < expected.size(); ++row) {
    const auto own = experts_of(routing, static_cast<int>(row));
    const auto experts = expected.at(row).at("idx").get<std::vector<int>>();
    REQUIRE(own.size() == experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i) {
      REQUIRE(own.count(experts[i]) == 1);
      CHECK(own.at(experts[i]) == Approx(expected.at(row).at("w").at(i).get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("sigmoid, group_limited and remoe route as another program does") {
  const auto file = data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(read_file(*file));
  const std::vector<float> logits = golden_logits(golden);
  const RouterRows rows{.rows = static_cast<int>(logits.size()) / 8, .logits = logits};
  const auto& deepseek = golden.at("deepseek_v3");
  const auto bias = deepseek.at("bias").get<std::vector<float>>();
  const ExpertRule grouped{.experts = 8,
                           .experts_per_token = 2,
                           .score = GateScore::Sigmoid,
                           .normalised = true,
                           .scale = 2.5,
                           .groups = 4,
                           .groups_kept = 2};
  ExpertRule flat = grouped;
  flat.groups = flat.groups_kept = 1;
  check_golden(router("{type: sigmoid, k: 2}")->route(rows, {0, grouped, bias}), deepseek.at("out"));
  check_golden(router("{type: group_limited, groups: 4, groups_kept: 2}")->route(rows, {0, flat, bias}),
               deepseek.at("out"));
  check_golden(router("remoe")->route(rows, {0, flat, {}}), golden.at("relu"));
}

TEST_CASE("expert_choice and sinkhorn choose as another program does") {
  const auto file = data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(read_file(*file));
  const std::vector<float> logits = golden_logits(golden);
  const ExpertRule rule{.experts = 8, .experts_per_token = 2};
  const RouterRows rows{.rows = 4, .logits = logits};
  const Routing chosen = router("expert_choice")->route(rows, {0, rule, {}});
  const auto taken =
      golden.at("expert_choice_capacity_factor_2").at("tokens_per_expert").get<std::vector<std::vector<int>>>();
  for (int row = 0; row < rows.rows; ++row)
    for (int expert = 0; expert < 8; ++expert) {
      const auto& of_expert = taken.at(static_cast<std::size_t>(expert));
      const bool expected = std::find(of_expert.begin(), of_expert.end(), row) != of_expert.end();
      CHECK((experts_of(chosen, row).count(expert) == 1) == expected);
    }
  const Routing balanced = router("sinkhorn")->route(rows, {0, rule, {}});
  CHECK(balanced.experts == golden.at("sinkhorn").at("top1").get<std::vector<int>>());
  for (std::size_t row = 0; row < 4; ++row) {
    const double logit = logits[row * 8 + static_cast<std::size_t>(balanced.experts[row])];
    CHECK(balanced.weights[row] == Approx(1 / (1 + std::exp(-logit))));
  }
}

TEST_CASE("sinkhorn gives every expert its share, whatever the size of the logits") {
  std::vector<float> logits;
  for (int row = 0; row < 64; ++row)
    for (int expert = 0; expert < 4; ++expert)
      logits.push_back((expert == 0 ? 3.0f : 0.0f) + normal_at(9, static_cast<std::uint64_t>(row * 4 + expert)));
  const ExpertRule rule{.experts = 4, .experts_per_token = 1};
  const auto load = [&](const std::string& yaml) {
    std::vector<int> out(4);
    for (const int expert : router(yaml)->route({.rows = 64, .logits = logits}, {0, rule, {}}).experts)
      ++out.at(static_cast<std::size_t>(expert));
    return out;
  };
  CHECK(load("{type: sinkhorn, balance: false}")[0] > 56);
  CHECK(load("base") == load("{type: sinkhorn, balance: false}"));
  for (const int rows : load("sinkhorn")) CHECK(std::abs(rows - 16) <= 6);
  const std::vector<float> huge{3e38f, 0, -3e38f, 1, -3e38f, -3e38f, -3e38f, -3e38f};
  for (const float weight : router("{type: sinkhorn, k: 2}")->route({.rows = 2, .logits = huge}, {0, rule, {}}).weights)
    CHECK(std::isfinite(weight));
}

TEST_CASE("group_limited scores a group by its best expert or by its two best") {
  const ExpertRule rule{.experts = 8, .experts_per_token = 2, .normalised = true};
  // Groups of two: the best single expert is in group 0, the best pair in group 1.
  const std::vector<float> logits{3, -9, 2.5, 2.5, 0, 0, 0, 0};
  const auto experts = [&](const std::string& score) {
    const auto made = router("{type: group_limited, groups: 4, groups_kept: 1, score: " + score + "}");
    std::vector<int> out = made->route({.rows = 1, .logits = logits}, {0, rule, {}}).experts;
    std::sort(out.begin(), out.end());
    return out;
  };
  CHECK(experts("best") == std::vector<int>{0, 1});
  CHECK(experts("two_best") == std::vector<int>{2, 3});
  const auto why = [&](const std::string& yaml) { return router(yaml)->unsupported_reason(rule).value_or("fits"); };
  CHECK(why("{type: group_limited, groups: 3}") == "groups: 8 experts cannot be cut into 3 equal groups");
  CHECK(why("{type: group_limited, groups: 2, groups_kept: 3}") == "groups_kept: 3 of 2 groups");
  CHECK(why("{type: group_limited, groups: 8}") == "score: groups of one expert have no two best ones");
  CHECK(why("{type: group_limited, groups: 4, groups_kept: 1, k: 3}") == "k: 3 of 2 experts");
  CHECK(why("{type: group_limited, groups: 2}") == "fits");
}

TEST_CASE("sqrt_softplus weighs by its scores and chooses with the bias") {
  const ExpertRule rule{.experts = 4, .experts_per_token = 2, .scale = 1.5};
  const std::vector<float> logits{2, 1, 0, -60000}, bias{0, -10, 0, 0};
  const auto score = [](double z) { return std::sqrt(std::log1p(std::exp(z))); };
  const auto own = experts_of(router("sqrt_softplus")->route({.rows = 1, .logits = logits}, {0, rule, bias}), 0);
  CHECK(own.size() == 2);
  CHECK(own.at(0) == Approx(1.5 * score(2) / (score(2) + score(0))));
  CHECK(own.at(2) == Approx(1.5 * score(0) / (score(2) + score(0))));
  const std::vector<float> none(4, -60000);
  for (const float weight : router("sqrt_softplus")->route({.rows = 1, .logits = none}, {0, rule, {}}).weights)
    CHECK(weight == 0);
  // Groups of two: the best single expert is in group 0, the best pair in group 1.
  const ExpertRule grouped{.experts = 4, .experts_per_token = 2, .groups = 2, .groups_kept = 1};
  const std::vector<float> pairs{3, -9, 2.5, 2.4f};
  CHECK(router("sqrt_softplus")->route({.rows = 1, .logits = pairs}, {0, grouped, {}}).experts ==
        std::vector<int>{2, 3});
  CHECK(router("{type: sqrt_softplus, k: 3}")->unsupported_reason(grouped).value_or("fits") == "k: 3 of 2 experts");
  // As a checkpoint's own rule, too.
  ExpertRule own_rule = grouped;
  own_rule.score = GateScore::SqrtSoftplus;
  CHECK(router("{type: group_limited, groups: 2, groups_kept: 1}")
            ->route({.rows = 1, .logits = pairs}, {0, own_rule, {}})
            .experts == std::vector<int>{2, 3});
}

TEST_CASE("moe_plus_plus gives nothing to experts that give nothing, and the others share the row") {
  // Five experts with matrices, then one zero, one copy and one constant.
  const ExpertRule rule{.experts = 8, .experts_per_token = 2, .zero = 1, .copy = 1, .constant = 1};
  const std::vector<float> logits{0, 1, 0, 0, 0, 3, 0, 0, /**/ 0, 1, 0, 0, 0, 0, 2, 0};
  const Routing routing = router("moe_plus_plus")->route({.rows = 2, .logits = logits}, {0, rule, {}});
  CHECK(routing.experts == std::vector<int>{5, 1, 6, 1});
  CHECK(routing.weights[0] == 0);
  CHECK(routing.weights[1] == Approx(1));
  CHECK(routing.weights[2] == Approx(std::exp(2.0) / (std::exp(2.0) + std::exp(1.0))));
  CHECK(routing.weights[2] + routing.weights[3] == Approx(1));
  CHECK(router("moe_plus_plus")->unsupported_reason({.experts = 8, .experts_per_token = 2}).value_or("fits") ==
        "the checkpoint has no experts without matrices (foretell_zero_experts and its like in its config)");
}

TEST_CASE("noisy_top_k has the same noise for a row alone and beside others, and other noise by seed and layer") {
  const ExpertRule rule{.experts = 8, .experts_per_token = 2};
  const std::vector<float> logits(8 * 64);
  std::vector<int> positions(64);
  std::iota(positions.begin(), positions.end(), 100);
  const RouterRows rows{.rows = 64, .logits = logits, .positions = positions};
  const auto route = [&](const std::string& yaml, int layer) { return router(yaml)->route(rows, {layer, rule, {}}); };
  const Routing first = route("noisy_top_k", 0);
  CHECK(route("noisy_top_k", 0).experts == first.experts);
  CHECK(route("noisy_top_k", 1).experts != first.experts);
  CHECK(route("{type: noisy_top_k, seed: 1}", 0).experts != first.experts);
  CHECK(route("{type: noisy_top_k, noise: 0}", 0).experts == route("{type: noisy_top_k, noise: 0}", 5).experts);
  std::vector<int> load(8);
  for (const int expert : first.experts) ++load.at(static_cast<std::size_t>(expert));
  CHECK(*std::min_element(load.begin(), load.end()) > 4);  // 16 on average
  CHECK(first.weights[0] + first.weights[1] == Approx(1));
}

TEST_CASE("sparsemixer weighs an expert among those near it") {
  const ExpertRule rule{.experts = 4, .experts_per_token = 2};
  const auto own = [&](std::vector<float> logits, const std::string& yaml) {
    return experts_of(router(yaml)->route({.rows = 1, .logits = logits}, {0, rule, {}}), 0);
  };
  // No other logit is within 2% of the highest: both weights are one.
  CHECK(own({5, 4, 1, 0}, "sparsemixer") == std::map<int, double>{{0, 1.0}, {1, 1.0}});
  const auto near = own({5, 4.95f, 1, 0}, "sparsemixer");
  CHECK(near.at(0) == Approx(1 / (1 + std::exp(-0.05))));
  CHECK(near.at(1) == 1);
  for (const auto& [expert, weight] : own({-1, -2, -3, -4}, "{type: sparsemixer, jitter: 0}")) CHECK(weight == 1);
}

TEST_CASE("hash deals the vocabulary out evenly, in another way in each layer") {
  constexpr int kVocab = 1000;
  const auto made =
      Registry<Router>::instance().make(parse_yaml("{type: hash, k: 2}", "router.yaml"), {.vocab = kVocab});
  const ExpertRule rule{.experts = 8, .experts_per_token = 2};
  const std::vector<float> logits = random_logits(8 * kVocab, 6);
  std::vector<Token> tokens(kVocab);
  std::iota(tokens.begin(), tokens.end(), 0);
  const RouterRows rows{.rows = kVocab, .logits = logits, .tokens = tokens};
  const Routing first = made->route(rows, {0, rule, {}});
  std::vector<int> load(8);
  for (const int expert : first.experts) ++load.at(static_cast<std::size_t>(expert));
  CHECK(load == std::vector<int>(8, 2 * kVocab / 8));
  for (int row = 0; row < kVocab; ++row) CHECK(experts_of(first, row).size() == 2);
  CHECK(made->route(rows, {1, rule, {}}).experts != first.experts);
  CHECK(first.weights == std::vector<float>(first.weights.size(), 0.5f));
  const std::vector<Token> unknown{-1};
  CHECK_THROWS_WITH(made->route({.rows = 1, .logits = logits, .tokens = unknown}, {2, rule, {}}),
                    Catch::Contains("'hash': a row of layer 2 has no token"));
}

TEST_CASE("budgeted keeps a draft within its experts, and leaves prompts and the anchor alone") {
  const ExpertRule rule{.experts = 8, .experts_per_token = 2, .normalised = true};
  const std::vector<float> logits = random_logits(8 * 12, 8);
  const std::vector<RoutedItem> items{{0, 6, true}, {6, 6, false}};
  const RouterRows rows{.rows = 12, .logits = logits, .items = items};
  const Routing own = route_by_rule(rows, {0, rule, {}}, rule);
  const auto used = [](const Routing& routing, int first, int count) {
    std::set<int> out;
    for (int row = first; row < first + count; ++row)
      for (const auto& [expert, weight] : experts_of(routing, row)) out.insert(expert);
    return out;
  };
  REQUIRE(used(own, 0, 6).size() > 3);
  for (const std::string keep : {"true", "false"}) {
    const auto made = router("{type: budgeted, experts: 3, keep_anchor: " + keep + "}");
    const Routing routing = made->route(rows, {0, rule, {}});
    CHECK(used(routing, 0, 6).size() == 3);
    for (int row = 0; row < 6; ++row) CHECK(experts_of(routing, row).size() == 2);
    for (int row = 6; row < 12; ++row) CHECK(experts_of(routing, row) == experts_of(own, row));
    if (keep == "true") CHECK(experts_of(routing, 0) == experts_of(own, 0));
  }
  const Routing all = router("{type: budgeted, experts: 8}")->route(rows, {0, rule, {}});
  CHECK(all.experts == own.experts);
  CHECK(router("{type: budgeted, experts: 1}")->unsupported_reason(rule) ==
        "experts: 1 are fewer than the 2 of one row");
  CHECK(router("{type: budgeted, experts: 9}")->unsupported_reason(rule) == "experts: 9 of 8 experts");
}

}  // namespace
}  // namespace foretell::testing
