// Loads of experts, routing logs of other programs and replayed caches, beside counts by hand and golden values.
#include <nlohmann/json.hpp>

#include <functional>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/cost/model_costs.h"
#include "framework/moe/expert_cache.h"
#include "framework/moe/expert_load.h"
#include "framework/moe/feasibility.h"
#include "framework/moe/router_log.h"
#include "tests/fuzz/text_targets.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/rooms.h"
#include "tests/support/seeds.h"

namespace foretell::testing {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("statistics of a load are those of another program") {
  const auto file = data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(read_file(*file)).at("stats_top2");
  const auto of = load_statistics(golden.at("counts").get<std::vector<std::int64_t>>()).value();
  CHECK(of.max_violation == Approx(golden.at("maxvio").get<double>()));
  CHECK(of.variation == Approx(golden.at("cv_load").get<double>()));
  CHECK(of.entropy == Approx(golden.at("load_entropy_norm").get<double>()));
  CHECK(of.effective == Approx(std::exp(golden.at("load_entropy_nats").get<double>())));
  CHECK(of.min_violation == 1);
  CHECK(of.dead == 3);
}

TEST_CASE("a load that nobody has has no statistics, and an even one violates nothing") {
  CHECK_FALSE(load_statistics({}));
  CHECK_FALSE(load_statistics(std::vector<std::int64_t>{0, 0}));
  const auto even = load_statistics(std::vector<std::int64_t>{5, 5, 5, 5}).value();
  CHECK(even.max_violation == 0);
  CHECK(even.variation == 0);
  CHECK(even.entropy == Approx(1));
  CHECK(load_statistics(std::vector<std::int64_t>{7})->entropy == 1);
}

RoundRecord round_of(ExpertUse use) {
  RoundRecord round;
  round.experts = std::move(use);
  return round;
}

TEST_CASE("rounds of a layer are counted together, and what was touched stands beside uniform routing") {
  // Three rows of two of four experts, then one.
  const std::vector<RoundRecord> rounds = {
      round_of(
          {.experts = 4,
           .layers =
               {{.layer = 2, .load = {{0, 3}, {1, 1}, {3, 2}}, .rows = 3, .pairs = 4, .shared = 2, .together = 4}}}),
      RoundRecord{},
      round_of({.experts = 4, .layers = {{.layer = 2, .load = {{0, 1}, {2, 1}}, .rows = 1, .together = 2}}})};
  const auto layers = layer_loads(rounds);
  REQUIRE(layers.size() == 1);
  CHECK(layers[0].layer == 2);
  CHECK(layers[0].load == std::vector<std::int64_t>{4, 1, 1, 2});
  CHECK(layers[0].rounds == 2);
  CHECK(layers[0].touched == Approx(2.5));
  CHECK(layers[0].uniform == Approx((4 * (1 - 0.125) + 2) / 2));
  CHECK(layers[0].together == Approx(3));
  CHECK(layers[0].max_violation == Approx((3 / 1.5 - 1 + 1 / 0.5 - 1) / 2));
  CHECK(layers[0].neighbour_share() == Approx(0.5));
  CHECK(layers[0].dropped_share() == Approx(0));
  CHECK(layers[0].experts_per_row() == Approx(2));
  const auto all = load_summary(layers).value();
  CHECK(all.rows_per_expert == Approx(8.0 / 5));
  CHECK(all.max_violation == Approx(1));
  const auto by_rows = touched_by_rows(rounds);
  REQUIRE(by_rows.size() == 2);
  CHECK(by_rows.at(3).touched == 3);
  CHECK(by_rows.at(3).uniform == Approx(3.5));
  CHECK(by_rows.at(1).rounds == 1);
  CHECK_FALSE(load_summary({}));
}

TEST_CASE("the experts of uniform routing are found again from what it touches") {
  for (const int experts : {8, 60, 128})
    for (const int rows : {2, 5, 16}) {
      const double touched = expected_experts(experts, 4, rows);
      CHECK(fitted_experts(4, rows, touched).value() == Approx(experts).epsilon(1e-6));
    }
  CHECK_FALSE(fitted_experts(4, 1, 4));
  CHECK_FALSE(fitted_experts(4, 3, 12));
  CHECK(fitted_experts(4, 3, 4).value() == Approx(4));
}

TEST_CASE("a draft on a mixture of experts pays only where its rows share what is read") {
  // Mixtral 8x7B without its head: the catalogue's example, where no self-draft with one expert can win alone.
  const ModelShape mixtral{.vocab = 1,
                           .hidden = 4096,
                           .layers = 32,
                           .heads = 32,
                           .kv_heads = 8,
                           .head_dim = 128,
                           .intermediate = 14336,
                           .experts = 8,
                           .active_experts = 2,
                           .weight_bytes = 2,
                           .head_bytes = 2,
                           .cache_bytes = 2};
  ModelShape one = mixtral;
  one.active_experts = 1;
  DraftCase of{.target = mixtral, .depth = 2, .nodes = 2, .step_bytes = forward_cost(one, 1, 0).bytes()};
  const Feasibility alone = draft_feasibility(of);
  CHECK(alone.experts == Approx(4.625));
  CHECK(alone.score_cost == Approx(2.15).epsilon(0.02));
  CHECK(alone.draft_cost == Approx(2 * 0.56).epsilon(0.03));
  CHECK(alone.oracle < 1);
  CHECK_FALSE(alone.break_even);
  CHECK_THAT(feasibility_note(of, alone),
             Contains("4.6 of 8 experts instead of 2.0") && Contains("even full acceptance"));
  // In a batch all experts are read anyway, until arithmetic decides.
  of.batch = 32;
  of.step_bytes = 0;  // of a lookup
  const Feasibility many = draft_feasibility(of);
  CHECK(many.score_cost < 1.01);
  CHECK(many.break_even.value() < 0.02);
  CHECK(feasibility_note(of, many).empty());
  of.operations_per_byte = 10;
  CHECK(draft_feasibility(of).score_cost > 2.5);
  of.operations_per_byte = 4;  // three rows cost nearly three
  CHECK_THAT(feasibility_note(of, draft_feasibility(of)), Contains("3 rows of each of 32 sequences"));
  // A dense target whose drafts cost nothing.
  of = {.target =
            {.vocab = 100, .hidden = 64, .layers = 2, .heads = 4, .kv_heads = 4, .head_dim = 16, .intermediate = 128},
        .depth = 4,
        .nodes = 4};
  CHECK(feasibility_note(of, draft_feasibility(of)).empty());
}

std::string route(int token, const std::string& ids, const std::string& rest = "") {
  return fmt::format(
      "{{\"type\": \"route\", \"req_id\": \"r\", \"token_idx\": {}, \"layer\": 0, \"topk_ids\": {}{}}}\n", token, ids,
      rest);
}

TEST_CASE("a routing log is cut where tokens do not follow one another and where warm-up repeats itself") {
  std::string text = "{\"type\": \"meta\", \"model_id\": \"m\", \"num_experts\": 6}\n";
  for (int i = 0; i < 5; ++i) text += route(i, "[0, 1]");
  text += route(5, "[2, 3]") + route(6, "[3, 4]", ", \"topk_weights\": [0.2, 0.8]") + route(7, "[2, 3]");
  text += route(3, "[5, 0]") + route(4, "[1, 2]");
  const RouterLog log = parse_router_log(text, "log", {.warm_up_run = 5});
  CHECK(log.model == "m");
  CHECK(log.experts == 6);
  CHECK(log.warm_up == 5);
  REQUIRE(log.sequences.size() == 2);
  CHECK(log.sequences[0].rows == std::vector<std::vector<int>>{{2, 3}, {4, 3}, {2, 3}});
  CHECK(log.sequences[1].rows.size() == 2);
  const LoggedLayer layer = logged_layer(log, 0);
  CHECK(layer.load == std::vector<std::int64_t>{1, 1, 3, 3, 1, 1});
  CHECK(layer.pairs == 6);
  CHECK(layer.shared == 2);
  const auto two = window_union(log, 0, 2).value();
  CHECK(two.windows == 2);
  CHECK(two.touched == Approx(3.5));
  CHECK(two.uniform == Approx(expected_experts(6, 2, 2)));
  CHECK_FALSE(window_union(log, 0, 4));
  CHECK(parse_router_log(text, "log", {.warm_up_run = 0}).sequences.front().rows.size() == 8);
  CHECK(parse_router_log(text, "log", {.experts = 9}).experts == 9);
}

TEST_CASE("a routing log that cannot be is an error with its line") {
  const auto why = [](const std::string& text, RouterLogOptions options = {}) -> std::string {
    try {
      parse_router_log(text, "log", options);
    } catch (const Error& error) {
      return error.what();
    }
    return "read";
  };
  CHECK_THAT(why(""), Contains("no row says where a token was routed"));
  CHECK_THAT(why("[]\n"), Contains("log:1") && Contains("one JSON object"));
  CHECK_THAT(why(route(0, "[1, 1]")), Contains("log:1") && Contains("each of them once"));
  CHECK_THAT(why(route(0, "[1]") + route(1, "[4096]")), Contains("log:2"));
  CHECK_THAT(why(route(0, "[1, 2]", ", \"topk_weights\": [1]")), Contains("2 weights"));
  CHECK_THAT(why(route(0, "[1]"), {.experts = 1}), Contains("expert 1"));
  CHECK_THAT(why("{\"type\": \"other\"}\n"), Contains("meta"));
  CHECK_THAT(why("{\"layer\": 5000, \"token_idx\": 0, \"topk_ids\": [1]}\n"), Contains("/layer"));
}

TEST_CASE("the seeds of the fuzzer of routing logs read or fail with an Error") {
  for_each_seed("router_log_fuzz", [](const std::string& bytes) { CHECK_NOTHROW(fuzz::router_log(bytes)); });
}

std::vector<CacheStep> random_steps(int experts, int count, int each, std::uint64_t seed) {
  std::vector<CacheStep> steps;
  for (int i = 0; i < count; ++i) {
    std::vector<int> needed;
    while (static_cast<int>(needed.size()) < each) {
      const auto expert = static_cast<int>(mix64(seed++) % static_cast<std::uint64_t>(experts));
      if (std::find(needed.begin(), needed.end(), expert) == needed.end()) needed.push_back(expert);
    }
    steps.push_back({needed, {}});
  }
  return steps;
}

// The most hits that any choice of what to keep gives: all choices are tried.
std::int64_t most_hits(std::span<const CacheStep> steps, std::uint32_t held, int room) {
  if (steps.empty()) return 0;
  std::uint32_t needed = 0;
  for (const int expert : steps[0].needed) needed |= 1u << expert;
  const std::uint32_t may = held | needed;
  std::int64_t best = 0;
  for (std::uint32_t keep = may;; keep = (keep - 1) & may) {
    if (__builtin_popcount(keep) <= room) best = std::max(best, most_hits(steps.subspan(1), keep, room));
    if (keep == 0) break;
  }
  return __builtin_popcount(held & needed) + best;
}

TEST_CASE("Belady's replay has the most hits that there are, and lru never more") {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const auto steps = random_steps(5, 6, 2, 1000 * seed);
    for (const int room : {1, 2, 3})
      CHECK(replay_cache(steps, 5, room, CacheRule::Belady).hits == most_hits(steps, 0, room));
  }
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const auto steps = random_steps(16, 300, 3, 77777 * (seed + 1));
    for (const int room : {2, 4, 8, 16}) {
      const CacheCount lru = replay_cache(steps, 16, room, CacheRule::Lru),
                       belady = replay_cache(steps, 16, room, CacheRule::Belady);
      CHECK(lru.hits <= belady.hits);
      CHECK(lru.needed == 900);
      CHECK(lru.hits + lru.waited == lru.needed);
    }
  }
}

TEST_CASE("lru by hand: a hit, an eviction of what was used longest ago, and room for all") {
  const std::vector<CacheStep> steps = {{{0, 1}, {}}, {{1, 2}, {}}, {{0, 2}, {}}, {{2, 3}, {}}};
  // Room for two: {0, 1}, {1, 2} hits 1, {0, 2} hits 2, {2, 3} hits 2.
  CHECK(replay_cache(steps, 4, 2, CacheRule::Lru).hits == 3);
  const CacheCount all = replay_cache(steps, 4, 4, CacheRule::Lru);
  CHECK(all.hits == 4);
  CHECK(all.read() == 4);
  CHECK(replay_cache(steps, 4, 1, CacheRule::Lru).needed == 8);
}

TEST_CASE("what a draft names is read ahead, and what nobody needed was read for nothing") {
  const std::vector<CacheStep> steps = {{{0, 1}, {0, 3}}, {{1, 2}, {2}}};
  const CacheCount of = replay_cache(steps, 4, 2, CacheRule::Lru);
  CHECK(of.prefetched == 2);
  CHECK(of.wasted == 1);
  CHECK(of.hits == 1);
  CHECK(of.waited == 1);
  CHECK(of.read() == 4);
}

}  // namespace
}  // namespace foretell::testing
