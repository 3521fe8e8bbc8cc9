#include "framework/metrics/latency.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

// Three tokens at 100, one at 150, two at 250; a round that showed nothing in between.
const std::vector<Emission> kBursty = {{100, 3}, {150, 1}, {200, 0}, {250, 2}};

}  // namespace

TEST_CASE("times of one request, whose rounds show several tokens at once") {
  CHECK(*time_to_first_token(kBursty) == 100);
  CHECK(*end_to_end_latency(kBursty) == 250);
  CHECK(*time_per_output_token(kBursty) == Approx(150.0 / 5));
  CHECK(gaps_per_token(kBursty) == std::vector<double>{0, 0, 50, 100, 0});
  CHECK(gaps_per_round(kBursty) == std::vector<double>{50, 100});
}

TEST_CASE("gaps per token add up to what lies between the first and the last token") {
  double total = 0;
  for (const double gap : gaps_per_token(kBursty)) total += gap;
  CHECK(total / static_cast<double>(gaps_per_token(kBursty).size()) == Approx(*time_per_output_token(kBursty)));
}

TEST_CASE("a request with one token, or none, has no time per output token") {
  const std::vector<Emission> one = {{70, 1}}, none = {{70, 0}};
  CHECK_FALSE(time_per_output_token(one));
  CHECK(gaps_per_token(one).empty());
  CHECK(*end_to_end_latency(one) == 70);
  CHECK_FALSE(time_to_first_token(none));
  CHECK_FALSE(end_to_end_latency({}));
  CHECK(*time_per_output_token(std::vector<Emission>{{70, 4}}) == 0);
}

TEST_CASE("the rounds of a request say when its tokens came") {
  const std::vector<RoundRecord> rounds = {{.emitted = 2, .ns = {1, 2, 3, 4}}, {.emitted = 1, .ns = {0, 5, 0, 0}}};
  const std::vector<Emission> emissions = emissions_of(20, rounds);
  REQUIRE(emissions.size() == 2);
  CHECK(emissions[0].ns == 30);
  CHECK(emissions[0].tokens == 2);
  CHECK(emissions[1].ns == 35);
}

TEST_CASE("a summary pools gaps and counts each request once elsewhere") {
  const std::vector<std::vector<Emission>> requests = {kBursty, {{300, 1}}, {}};
  const LatencySummary summary = latency_summary(requests);
  CHECK(summary.time_to_first_token->p50 == Approx(200));
  CHECK(*summary.mean_time_to_first_token == Approx(200));
  CHECK(*summary.mean_time_per_output_token == Approx(30));
  CHECK(summary.gap_per_token->p50 == 0);
  CHECK(*summary.mean_gap_per_token == Approx(30));
  CHECK(summary.gap_per_round->p50 == Approx(75));
  CHECK(summary.end_to_end->p90 == Approx(295));
  CHECK(summary.end_to_end->p99 == Approx(299.5));
  CHECK_FALSE(latency_summary({}).end_to_end);
  CHECK_FALSE(latency_summary({}).mean_gap_per_round);
}

TEST_CASE("goodput counts the requests that met every target") {
  const std::vector<std::vector<Emission>> requests = {kBursty, {{300, 1}}, {}};
  CHECK(*goodput(requests, {}, 2e9) == Approx(1.0));
  CHECK(*goodput(requests, {.time_to_first_token_ns = 100}, 1e9) == Approx(1.0));
  CHECK(*goodput(requests, {.time_per_output_token_ns = 29}, 1e9) == Approx(1.0));
  CHECK(*goodput(requests, {.end_to_end_ns = 300}, 1e9) == Approx(2.0));
  CHECK(*goodput(requests, {.end_to_end_ns = 299}, 1e9) == Approx(1.0));
  CHECK(*goodput(requests, {.time_to_first_token_ns = 300, .time_per_output_token_ns = 30, .end_to_end_ns = 249},
                 1e9) == 0);
  CHECK(*goodput(requests, {.time_to_first_token_ns = 10}, 1e9) == 0);
  CHECK_FALSE(goodput(requests, {}, 0));
}
