#include "framework/cost/timing_contradiction.h"

#include <fmt/format.h>

namespace foretell::cost {
namespace {

constexpr double kMostOff = 1.5;
// The costs of rows that a bound is made of are measured themselves.
constexpr double kBoundSlack = 1.1;

std::string score_contradiction(const char* who, const ScoredRounds& rounds) {
  const auto words = [&](double factor) {
    const std::string rows = fmt::format("{:.3g}", rounds.rows);
    return fmt::format("scoring {} {}{} took {:.2g}x the measured cost", rows, rows == "1" ? "row" : "rows", who,
                       factor);
  };
  if (rounds.score_ns > kMostOff * rounds.most_ns) return words(rounds.score_ns / rounds.most_ns);
  if ((rounds.score_ns + rounds.draft_ns) * kMostOff < rounds.least_ns) return words(rounds.score_ns / rounds.least_ns);
  return "";
}

}  // namespace

std::string timing_contradiction(const TimedRounds& rounds) {
  if (rounds.method)
    if (auto words = score_contradiction("", *rounds.method); !words.empty()) return words;
  if (rounds.baseline)
    if (auto words = score_contradiction(" of the baseline", *rounds.baseline); !words.empty()) return words;
  if (rounds.decode_speedup && rounds.full_acceptance && *rounds.decode_speedup > kBoundSlack * *rounds.full_acceptance)
    return fmt::format("decoding was {:.2f}x as fast, full acceptance gives {:.2f}x", *rounds.decode_speedup,
                       *rounds.full_acceptance);
  return "";
}

}  // namespace foretell::cost
