// Rules of mixtures of experts, beside the checkpoint's own and beside what other programs computed.
#include "framework/api/build_context.h"
#include "framework/api/router.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"
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
      CHECK(!top_k->refuses(rule));
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
  CHECK(router("{type: top_k, k: 9}")->refuses(checkpoint_rules()[0]) == "k: 9 of 8 experts");
  CHECK(router("{type: top_k, k: 5}")->refuses(grouped) == "k: 5 of 4 experts in the groups that are kept");
  CHECK(!router("{type: top_k, k: 4}")->refuses(grouped));
  CHECK(router("{type: top_k, softmax: after}")->refuses(grouped).value_or("").find("sigmoid") != std::string::npos);
  CHECK_THROWS_AS(router("{type: top_k, k: 0}"), Error);
  CHECK_THROWS_AS(router("{type: top_k, softmax: both}"), Error);
}

}  // namespace
}  // namespace foretell::testing
