// The target drafting with its own first layers (LayerSkip), and hidden states on the way to the drafter: the proof
// that provisional rows close.
#include <algorithm>
#include <numeric>

#include "experiments/certify/checks.h"
#include "tests/support/catch.h"
#include "tests/support/self_drafter.h"

namespace foretell::testing {
namespace {

using namespace certify;

Setup self_draft(const SelfDraftOptions& options, std::shared_ptr<const ToyModel> target = toy_target()) {
  Setup setup = toy_setup("none", "rejection", "", target);
  setup.drafter = [options, target] { return make_self_drafter(target, options); };
  return setup;
}

TEST_CASE("self-drafting emits the greedy text, at every exit layer", "[self-draft]") {
  for (const int layers : {1, 2, 3, 4}) CHECK(check_identity(self_draft({.layers = layers})).value_or("") == "");
}

TEST_CASE("self-drafting with skipped sublayers, siblings that were not forwarded, rows that are not named",
          "[self-draft]") {
  CHECK(check_identity(self_draft({.skip_middle = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.extra = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.unnamed = true})).value_or("") == "");
  CHECK(check_identity(self_draft({.skip_middle = true, .extra = true, .unnamed = true})).value_or("") == "");
}

TEST_CASE("self-drafting at other layers in each sequence, and row by row", "[self-draft]") {
  for (const bool extra : {false, true}) {
    CHECK(check_identity(self_draft({.layers = 1, .spread = true, .extra = extra})).value_or("") == "");
    // A row that went deeper than the one that it follows is computed again.
    CHECK(check_identity(self_draft({.layers = 1, .deepening = true, .extra = extra})).value_or("") == "");
    CHECK(check_identity(self_draft({.layers = 1, .spread = true, .deepening = true, .extra = extra})).value_or("") ==
          "");
  }
}

TEST_CASE("early layers are not computed twice", "[self-draft]") {
  for (const bool spread : {false, true}) {
    const auto target = toy_target();
    std::vector<Request> requests;
    for (std::uint64_t id = 0; id < 3; ++id)
      requests.push_back({.id = id, .prompt = {1, 2, static_cast<Token>(id)}, .max_new_tokens = 60});
    const auto out = run(self_draft({.layers = 2, .length = 3, .spread = spread}, target), requests, {.batch = 3});
    long rows = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      CHECK(out[i].tokens == reference_greedy(*target, requests[i]));
      rows += 2;  // the prompt's
      for (const RoundRecord& round : out[i].rounds) rows += round.scored;
    }
    CHECK(target->layer_rows() == 4 * rows);
  }
}

TEST_CASE("a self-drafting batch takes one forward a level and one to score, whatever its size", "[self-draft]") {
  for (const bool spread : {false, true})
    for (const int batch : {1, 8}) {
      const auto target = toy_target();
      std::vector<Request> requests;
      for (int id = 0; id < batch; ++id)
        requests.push_back({.id = static_cast<std::uint64_t>(id), .prompt = {1, 2}, .max_new_tokens = 41});
      const auto out =
          run(self_draft({.layers = 2, .length = 4, .spread = spread}, target), requests, {.batch = batch});
      std::size_t longest = 0, drafting = 0;
      for (const Generation& g : out) {
        longest = std::max(longest, g.rounds.size());
        drafting = std::max<std::size_t>(
            drafting, std::accumulate(g.rounds.begin(), g.rounds.end(), std::size_t{0},
                                      [](std::size_t n, const RoundRecord& r) { return n + (r.depth > 0 ? 1U : 0U); }));
      }
      CHECK(longest > 8);
      // Equal prompts and seeds: all sequences are in the same round. The last rounds may draft less.
      CHECK(target->forwards() <= static_cast<long>(batch + longest + 4 * drafting));
      CHECK(target->forwards() >= static_cast<long>(batch + longest + 4 * (drafting - 1)));
    }
}

TEST_CASE("drafting on the target's cache forwards one row a drafted token, and no prompt", "[self-draft]") {
  const auto target = toy_target();
  const Request request{.prompt = {1, 2, 3, 4, 5, 6, 7}, .max_new_tokens = 60};
  for (const int window : {1, 2, 100}) {
    const long before = target->rows();
    const std::string drafter =
        fmt::format("{{type: sparse_cache, attention: {{type: streaming, sinks: 0, window: {}}}}}", window);
    const Generation out = run(toy_setup(drafter, "rejection", "", target), {request}).front();
    CHECK(out.tokens == reference_greedy(*target, request));
    long rows = 6;
    for (const RoundRecord& round : out.rounds) rows += round.drafted + round.scored;
    CHECK(target->rows() - before == rows);
    // The toy looks at three tokens: a window of two and the drafted row itself leave some of them out.
    const auto accepted = std::accumulate(out.rounds.begin(), out.rounds.end(), 0,
                                          [](int n, const RoundRecord& r) { return n + r.accepted; });
    CHECK((accepted == 60 - static_cast<int>(out.rounds.size())));
    CHECK((window == 100) == (out.rounds.size() == 12));
  }
}

TEST_CASE("hidden states reach the drafter by node", "[self-draft]") {
  for (const bool extra : {false, true})
    for (const bool spread : {false, true})
      CHECK(check_identity(self_draft({.layers = 2,
                                       .spread = spread,
                                       .extra = extra,
                                       .wants = {.aux_states = {0, 2, 3}, .final_state = true}}))
                .value_or("") == "");
}

}  // namespace
}  // namespace foretell::testing
