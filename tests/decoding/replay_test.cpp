#include "framework/replay/replay_target.h"

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/decoder.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Contains;

constexpr int kVocab = 100;

struct Parts {
  std::unique_ptr<Drafter> drafter;
  std::unique_ptr<Verifier> verifier;
  std::unique_ptr<DraftPolicy> policy;
  Pipeline pipeline() { return {*drafter, *verifier, *policy}; }
};

Parts parts(const std::string& drafter, const std::string& verifier = "rejection") {
  BuildContext context;
  context.vocab = kVocab;
  return {Registry<Drafter>::instance().make(parse_yaml(drafter, "d"), context),
          Registry<Verifier>::instance().make(parse_yaml(verifier, "v"), context),
          Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context)};
}

Generation replay(const std::string& drafter, const Request& request) {
  const auto target = make_replay_target(kVocab);
  Parts p = parts(drafter);
  return Decoder(*target, p.pipeline()).run(request);
}

std::vector<int> emitted(const Generation& g) {
  std::vector<int> out;
  for (const RoundRecord& r : g.rounds) out.push_back(r.emitted);
  return out;
}

TEST_CASE("a recorded answer comes out as it went in") {
  const Request request{
      .prompt = {1, 2, 3}, .max_new_tokens = 50, .stop_tokens = {9}, .reference = {4, 5, 6, 4, 5, 6, 9}};
  for (const char* drafter : {"none", "prompt_lookup", "{type: oracle, acceptance_rate: 0.5}"}) {
    const Generation g = replay(drafter, request);
    CHECK(g.tokens == request.reference);
    CHECK(g.finish == FinishReason::StopToken);
  }
}

TEST_CASE("every verifier repeats a recorded answer, whatever was drafted, or is refused") {
  const Request request{
      .prompt = {1, 2, 3}, .max_new_tokens = 50, .stop_tokens = {9}, .reference = {4, 5, 6, 4, 5, 7, 4, 5, 6, 9}};
  int repeated = 0;
  for (const auto& [name, entry] : Registry<Verifier>::instance().entries()) {
    INFO(name);
    const auto target = make_replay_target(kVocab);
    Parts p = parts("{type: oracle, acceptance_rate: 0.5, num_speculative_tokens: 3}", name);
    if (incompatibility(*target, p.pipeline(), request.sampling)) {
      CHECK(p.verifier->info().needs_logits);
      continue;
    }
    CHECK(Decoder(*target, p.pipeline()).run(request).tokens == request.reference);
    ++repeated;
  }
  CHECK(repeated >= 10);
}

TEST_CASE("a recording that was cut ends where it ends") {
  const Request request{.prompt = {1, 2, 3}, .max_new_tokens = 50, .reference = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1}};
  const Generation g = replay("{type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}", request);
  CHECK(g.tokens == request.reference);
  CHECK(g.finish == FinishReason::Context);
}

TEST_CASE("prompt lookup by the original's rule: leftmost match whose whole continuation fits") {
  // The suffix 7 8 occurs twice before; the leftmost is followed by 1 2, which the answer repeats.
  const Request request{.prompt = {7, 8, 1, 2, 7, 8, 3, 4, 7, 8}, .max_new_tokens = 4, .reference = {1, 2, 7, 8}};
  CHECK(emitted(replay("{type: prompt_lookup, num_speculative_tokens: 3}", request)) == std::vector<int>{4});
  // The most recent match proposes 3 4 7 instead: nothing is accepted until the text has moved on.
  CHECK(emitted(replay("{type: prompt_lookup, num_speculative_tokens: 3, match: last}", request)).front() == 1);
  // A continuation of nine tokens does not fit for any n: no draft at all.
  CHECK(emitted(replay("{type: prompt_lookup, num_speculative_tokens: 9}", request)) == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("prompt lookup prefers the longest suffix") {
  const Request request{.prompt = {5, 1, 1, 1, 1, 6, 5, 2, 2, 2, 2, 6, 5}, .max_new_tokens = 3, .reference = {2, 2, 2}};
  // n = 2: "6 5" is followed by 2; n = 1: the first "5" is followed by 1.
  CHECK(emitted(replay("{type: prompt_lookup, num_speculative_tokens: 2}", request)).front() == 3);
  CHECK(emitted(replay("{type: prompt_lookup, num_speculative_tokens: 2, prompt_lookup_max: 1}", request)).front() ==
        1);
}

TEST_CASE("what a recording cannot answer is refused") {
  const auto target = make_replay_target(kVocab);
  Request request{.prompt = {1}, .reference = {2}};
  request.sampling.temperature = 1;
  Parts p = parts("none");
  CHECK_THROWS_WITH(Decoder(*target, p.pipeline()).run(request), Contains("temperature 0 only"));
  CHECK_THROWS_WITH(Decoder(*target, p.pipeline()).run(Request{.prompt = {1}}), Contains("no recorded answer"));
  CHECK_THROWS_WITH(Decoder(*target, p.pipeline()).run(Request{.prompt = {1}, .reference = {500}}),
                    Contains("outside the vocabulary"));
  Parts oracle = parts("oracle");
  CHECK_THROWS_WITH(Decoder(*target, oracle.pipeline()).run(request), Contains("temperature"));
}

TEST_CASE("oracle rates by depth") {
  Request request{.prompt = {1}, .max_new_tokens = 3000, .seed = 3};
  for (int i = 0; i < 3000; ++i) request.reference.push_back(i % 97);
  const Generation g = replay("{type: oracle, acceptance_rates: [0.8, 0.5], num_speculative_tokens: 2}", request);
  double first = 0, second = 0;
  for (const RoundRecord& r : g.rounds) {
    first += r.accepted >= 1;
    second += r.accepted >= 2;
  }
  CHECK(first / static_cast<double>(g.rounds.size()) == Approx(0.8).margin(0.04));
  CHECK(second / first == Approx(0.5).margin(0.05));
}

}  // namespace
}  // namespace foretell
