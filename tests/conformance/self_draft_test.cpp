// The target drafting with its own first layers (LayerSkip), and hidden states on the way to the drafter: the proof
// that forward_early closes.
#include <numeric>

#include "experiments/certify/checks.h"
#include "tests/support/catch.h"
#include "tests/support/self_drafter.h"

namespace foretell::testing {
namespace {

using namespace certify;

Setup self_draft(const SelfDraftOptions& options) {
  Setup setup = toy_setup("none");
  setup.drafter = [options] { return make_self_drafter(options); };
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

TEST_CASE("early layers are not computed twice", "[self-draft]") {
  const auto target = toy_target();
  const Request request{.prompt = {1, 2, 3}, .max_new_tokens = 60};
  Setup setup = self_draft({.layers = 2, .length = 3});
  setup.model = target;
  setup.target = toy_setup("none", "rejection", "", target).target;
  const Generation out = run(setup, {request}).front();
  CHECK(out.tokens == reference_greedy(*target, request));
  // Rows through any layers: the prompt, each scored row once on its way through the last layers, and each row once
  // through the first layers.
  long scored = 0;
  for (const RoundRecord& round : out.rounds) scored += round.drafted > 0 ? 2 * round.scored : 1;
  CHECK(target->rows() == 2 + scored);
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
    CHECK(check_identity(self_draft({.layers = 2, .extra = extra, .wants = {.taps = {0, 2, 3}, .final_state = true}}))
              .value_or("") == "");
}

}  // namespace
}  // namespace foretell::testing
