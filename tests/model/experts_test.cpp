// Which experts rows are sent to, and what a forward does with them.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

#include <nlohmann/json.hpp>

#include <cmath>

#include "framework/core/error.h"
#include "framework/model/experts.h"
#include "framework/model/load_model.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::make_model;
using testing::max_difference;
using testing::random_tokens;
using testing::small_config;

MoeConfig softmax_experts(int experts, int per_token, bool normalised) {
  MoeConfig moe;
  moe.experts = experts;
  moe.experts_per_token = per_token;
  moe.normalised = normalised;
  return moe;
}

Routing route_one(const MoeConfig& moe, const std::vector<float>& logits, const std::vector<float>& bias = {}) {
  return checkpoint_router().route({1, logits}, {0, expert_rule(moe), bias});
}

TEST_CASE("experts are chosen by their softmax, the lower one of equals") {
  const Routing raw = route_one(softmax_experts(3, 2, false), {0.0f, std::log(2.0f), 0.0f});
  CHECK((raw.experts == std::vector<int>{1, 0}));
  CHECK(raw.weights[0] == Approx(0.5));
  CHECK(raw.weights[1] == Approx(0.25));
  const Routing normalised = route_one(softmax_experts(3, 2, true), {0.0f, std::log(2.0f), 0.0f});
  CHECK(normalised.weights[0] == Approx(2.0 / 3));
  CHECK(normalised.weights[1] == Approx(1.0 / 3));
  CHECK(route_one(softmax_experts(2, 1, true), {1000.0f, -1000.0f}).weights[0] == Approx(1.0));
  CHECK(checkpoint_router().row_independent());
}

TEST_CASE("the bias chooses but does not weigh, and groups are chosen first") {
  MoeConfig moe = softmax_experts(6, 2, true);
  moe.score = MoeConfig::Score::Sigmoid;
  moe.selection_bias = true;
  moe.scale = 3;
  const auto logit = [](double p) { return static_cast<float>(std::log(p / (1 - p))); };
  const std::vector<float> logits = {logit(0.9), logit(0.1), logit(0.6), logit(0.5), logit(0.4), logit(0.3)};
  const Routing plain = route_one(moe, logits);
  CHECK((plain.experts == std::vector<int>{0, 2}));
  CHECK(plain.weights[0] == Approx(3 * 0.9 / 1.5));
  const Routing biased = route_one(moe, logits, {0, 0, 0, 0, 0, 2});
  CHECK((biased.experts == std::vector<int>{5, 0}));
  CHECK(biased.weights[0] == Approx(3 * 0.3 / 1.2));
  // Three groups of two: their sums are 1.0, 1.1 and 0.7, so the best expert of all is not in the best group.
  moe.groups = 3;
  moe.groups_kept = 1;
  CHECK((route_one(moe, logits).experts == std::vector<int>{2, 3}));
  moe.groups_kept = 2;
  CHECK((route_one(moe, logits).experts == std::vector<int>{0, 2}));
  // An expert outside of the kept groups stays outside even if all inside score below zero.
  moe.groups_kept = 1;
  CHECK((route_one(moe, logits, {-5, -5, -3, -3, -5, -5}).experts == std::vector<int>{2, 3}));
}

TEST_CASE("routings agree with those that another program computed") {
  const auto file = testing::data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(testing::read_file(*file));
  const auto& rows = golden.at("logits");
  const auto check = [&](const MoeConfig& moe, const nlohmann::json& expected, const std::vector<float>& bias) {
    REQUIRE(expected.size() == rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const Routing routing = route_one(moe, rows[row].get<std::vector<float>>(), bias);
      CHECK(routing.experts == expected[row].at("idx").get<std::vector<int>>());
      for (int i = 0; i < routing.per_row; ++i)
        CHECK(routing.weights[i] == Approx(expected[row].at("w")[i].get<double>()).epsilon(1e-5));
    }
  };
  const int experts = static_cast<int>(rows[0].size());
  check(softmax_experts(experts, 2, true), golden.at("mixtral_top2"), {});
  check(softmax_experts(experts, 2, false), golden.at("softmax_top2_no_renorm"), {});
  const auto& grouped = golden.at("deepseek_v3");
  MoeConfig moe = softmax_experts(experts, grouped.at("k").get<int>(), true);
  moe.score = MoeConfig::Score::Sigmoid;
  moe.groups = grouped.at("n_group").get<int>();
  moe.groups_kept = grouped.at("topk_group").get<int>();
  moe.scale = grouped.at("route_scale").get<double>();
  check(moe, grouped.at("out"), grouped.at("bias").get<std::vector<float>>());
}

// Sends every row to one expert.
class OneExpert final : public Router {
 public:
  explicit OneExpert(int expert) : expert_(expert) {}
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    CHECK(rows.logits.size() == static_cast<std::size_t>(rows.rows * context.rule.experts));
    CHECK(rows.positions.size() == static_cast<std::size_t>(rows.rows));
    Routing routing{2, {}, {}};
    for (int row = 0; row < rows.rows; ++row) {
      routing.experts.insert(routing.experts.end(), {expert_, -1});
      routing.weights.insert(routing.weights.end(), {1.0f, 9.0f});
    }
    return routing;
  }
  bool row_independent() const override { return true; }

 private:
  int expert_;
};

TEST_CASE("a forward tells where its rows were sent and takes another router") {
  std::mt19937 random(40);
  for (const char* family : {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3"}) {
    INFO(family);
    const testing::TemporaryFolder folder;
    const auto model = load_model(make_model(folder.path(), small_config(family), 41));
    const ModelConfig& config = model->config();
    const Tokens tokens = random_tokens(9, config.vocab_size, random);
    const auto run = [&](TokenSpan part, const Router* router) {
      const auto cache = model->make_cache(16);
      ForwardOptions options;
      options.trace_experts = true;
      options.router = router;
      return model->forward(ForwardItem{part, ChainShape{}, cache.get(), LogitRows::All}, options);
    };
    const ForwardResult one = run(TokenSpan(tokens).first(1), nullptr), all = run(tokens, nullptr);
    const auto touched = [&](const RoutedLayer& layer) {
      const std::vector<int> load = layer.load(config.moe.experts);
      return config.moe.experts - std::count(load.begin(), load.end(), 0);
    };
    std::vector<int> sparse;
    for (int layer = 0; layer < 3; ++layer)
      if (config.is_sparse(layer)) sparse.push_back(layer);
    REQUIRE(one.routed.size() == sparse.size());
    REQUIRE(all.routed.size() == sparse.size());
    for (std::size_t i = 0; i < sparse.size(); ++i) {
      CHECK(one.routed[i].layer == sparse[i]);
      CHECK(one.routed[i].rows.empty());
      CHECK(touched(one.routed[i]) == config.moe.experts_per_token);
      CHECK(touched(all.routed[i]) >= config.moe.experts_per_token);
      CHECK(all.routed[i].experts.size() == tokens.size() * static_cast<std::size_t>(all.routed[i].per_row));
      CHECK(std::equal(one.routed[i].experts.begin(), one.routed[i].experts.end(), all.routed[i].experts.begin()));
    }
    CHECK(at::equal(run(tokens, &checkpoint_router()).logits, all.logits));
    const ForwardResult single = run(tokens, std::make_unique<OneExpert>(config.moe.experts - 1).get());
    for (const RoutedLayer& layer : single.routed) CHECK(touched(layer) == 1);
    CHECK(max_difference(single.logits, all.logits) > 1e-3f);
    CHECK_THROWS_AS(run(tokens, std::make_unique<OneExpert>(config.moe.experts).get()), InternalError);
    const auto cache = model->make_cache(16);
    CHECK(model->forward(ForwardItem{TokenSpan(tokens), ChainShape{}, cache.get(), LogitRows::None}).routed.empty());
  }
}

}  // namespace
}  // namespace foretell
