// A replay above temperature 0 against live runs, by enumeration: output and rounds together must have the live run's
// distribution.
#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/certify/enumerator.h"
#include "experiments/certify/toy_pipeline.h"
#include "framework/core/error.h"
#include "framework/replay/recorded_distributions.h"
#include "framework/replay/replay_target.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Contains;

constexpr int kToyVocab = 3;
constexpr int kToyTokens = 3;
const Tokens kToyPrompt{1, 2, 1};

// What one run did: its tokens, then for every round the numbers of its record and, if wanted, its draft.
using RunKey = std::vector<int>;
using JointDistribution = std::map<RunKey, double>;

struct ToyReplay {
  double temperature = 1.0;
  std::vector<Token> stops = {};
  int top_k = kToyVocab;
  bool drafts_compared = true;
};

certify::Setup small_setup(const std::string& drafter, const std::string& verifier = "rejection",
                           const std::string& tree = "") {
  return certify::toy_setup(drafter, verifier, tree, certify::toy_target(kToyVocab));
}

Request toy_request(const ToyReplay& options) {
  Request request{.prompt = kToyPrompt, .max_new_tokens = kToyTokens, .stop_tokens = options.stops};
  request.sampling.temperature = options.temperature;
  return request;
}

// Adds every way in which the request can be decoded.
void add_runs(const certify::Setup& setup, const Request& request, const ToyReplay& options, double mass,
              JointDistribution& joint) {
  certify::Enumerator enumerator;
  certify::RunOptions run;
  RunKey rounds;
  run.decoder.make_rng = [&](const RngKey&) { return enumerator.make_rng(); };
  run.decoder.on_round = [&](const RoundEvent& event) {
    const RoundRecord& r = event.record;
    rounds.insert(rounds.end(), {-1, r.drafted, r.scored, r.depth, r.accepted, r.emitted});
    if (!options.drafts_compared) return;
    for (const DraftNode& node : event.view.draft.nodes()) rounds.insert(rounds.end(), {node.token, node.parent});
  };
  enumerator.run([&] {
    rounds.clear();
    const Generation answer = certify::run(setup, {request}, run).front();
    RunKey key(answer.tokens.begin(), answer.tokens.end());
    key.insert(key.end(), rounds.begin(), rounds.end());
    joint[key] += mass * enumerator.weight();
  });
}

JointDistribution live_distribution(const certify::Setup& setup, const ToyReplay& options) {
  JointDistribution joint;
  add_runs(setup, toy_request(options), options, 1.0, joint);
  return joint;
}

// Every answer of the target, cut at its stop token.
std::map<Tokens, double> answers_of(const certify::KnownModel& model, const ToyReplay& options) {
  std::map<Tokens, double> out;
  for (const auto& [whole, mass] :
       certify::reference_joint_distribution(model, kToyPrompt, kToyTokens, options.temperature)) {
    Tokens tokens = whole;
    const auto stop = std::find_first_of(tokens.begin(), tokens.end(), options.stops.begin(), options.stops.end());
    if (stop != tokens.end()) tokens.erase(stop + 1, tokens.end());
    out[tokens] += mass;
  }
  return out;
}

std::shared_ptr<const RecordedDistributions> distributions_along(const certify::KnownModel& model, const Tokens& answer,
                                                                 int top_k) {
  auto distributions = std::make_shared<RecordedDistributions>(model.config().vocab_size);
  Tokens text = kToyPrompt;
  for (const Token token : answer) {
    distributions->add(model.logits_after(text), token, top_k);
    text.push_back(token);
  }
  return distributions;
}

JointDistribution replayed_distribution(certify::Setup setup, const ToyReplay& options) {
  Request request = toy_request(options);
  setup.target = [recorded = request.sampling] { return make_replay_target(kToyVocab, {.recorded = recorded}); };
  JointDistribution joint;
  for (const auto& [tokens, mass] : answers_of(*setup.model, options)) {
    request.reference = tokens;
    request.data = distributions_along(*setup.model, tokens, options.top_k);
    add_runs(setup, request, options, mass, joint);
  }
  return joint;
}

double distance(const JointDistribution& a, JointDistribution b) {
  double sum = 0;
  for (const auto& [key, mass] : a) {
    sum += std::abs(mass - b[key]);
    b.erase(key);
  }
  for (const auto& [key, mass] : b) sum += mass;
  return sum / 2;
}

void check_replay(const certify::Setup& setup, const ToyReplay& options = {}) {
  const JointDistribution live = live_distribution(setup, options);
  CHECK(live.size() > 10);
  CHECK(distance(live, replayed_distribution(setup, options)) < 1e-6);  // log probabilities are stored in float32
}

TEST_CASE("a chain that is replayed with its distributions has the rounds of a live run") {
  const auto setup = small_setup("{type: model, num_speculative_tokens: 2}");
  check_replay(setup);
  check_replay(setup, {.temperature = 0.6});
  check_replay(setup, {.stops = {2}});
}

TEST_CASE("trees of drawn tokens that are replayed have the rounds of a live run") {
  const std::string tree = "{type: widths, widths: [2, 1]}";
  check_replay(small_setup("{type: model, replacement: false}", "rejection", tree));
  check_replay(small_setup("{type: model, replacement: true}", "rejection", "{type: widths, widths: [2]}"));
  check_replay(small_setup("{type: model, replacement: false}", "rejection", "{type: widths, widths: [3]}"));
}

TEST_CASE("chosen tokens that are replayed have the rounds of a live run") {
  check_replay(small_setup("{type: model, draft_sample_method: top_k}", "rejection", "{type: widths, widths: [2, 2]}"));
  check_replay(small_setup("{type: prompt_lookup, num_speculative_tokens: 2, whole_continuation: false}"));
  check_replay(
      small_setup("{type: merged, drafters: [{type: model, draft_sample_method: top_k, num_speculative_tokens: 2}, "
                  "{type: prompt_lookup, num_speculative_tokens: 2, whole_continuation: false}]}"));
}

TEST_CASE("verifiers whose output does not depend on the draft are replayed with draws as they come") {
  for (const char* verifier : {"sample_then_match", "sequential_one_hot"}) {
    INFO(verifier);
    check_replay(small_setup("{type: model, num_speculative_tokens: 2}", verifier));
    check_replay(small_setup("{type: model}", verifier, "{type: widths, widths: [2, 1]}"));
  }
}

TEST_CASE("policies that stop a draft see the drafts of a live run") {
  auto setup =
      certify::toy_setup("{type: model, num_speculative_tokens: 2}", "rejection", "", certify::toy_target(kToyVocab),
                         {.yaml = "{type: confidence, assistant_confidence_threshold: 0.4}"});
  check_replay(setup);
}

TEST_CASE("at temperature 1 a chain's acceptance needs no more than the distribution of the emitted token") {
  const auto setup = small_setup("{type: model, num_speculative_tokens: 2}");
  const ToyReplay cut{.top_k = 1, .drafts_compared = false};
  CHECK(distance(live_distribution(setup, cut), replayed_distribution(setup, cut)) < 1e-6);
}

TEST_CASE("draws without the guidance of the output would be wrong") {
  // The same replay with a verifier that leaves draws alone must not agree with live rejection: the tests above would
  // see it.
  const ToyReplay options;
  CHECK(distance(live_distribution(small_setup("{type: model, num_speculative_tokens: 2}"), options),
                 replayed_distribution(small_setup("{type: model, num_speculative_tokens: 2}", "sample_then_match"),
                                       options)) > 0.05);
}

TEST_CASE("at temperature 0 a replay with distributions drafts beyond a stop token as a live run does") {
  for (const char* drafter : {"{type: model, num_speculative_tokens: 3}",
                              "{type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}"}) {
    auto setup = certify::toy_setup(drafter);
    for (Token stop = 0; stop < 11; ++stop) {
      Request request{.prompt = kToyPrompt, .max_new_tokens = 40, .stop_tokens = {stop}};
      const Generation live = certify::run(setup, {request}).front();
      auto replay = setup;
      replay.target = [] { return make_replay_target(11, {.recorded = SamplingOptions{}}); };
      request.reference = live.tokens;
      request.data = distributions_along(*setup.model, live.tokens, 4);
      const Generation again = certify::run(replay, {request}).front();
      CHECK(again.tokens == live.tokens);
      CHECK(again.finish == live.finish);
      REQUIRE(again.rounds.size() == live.rounds.size());
      for (std::size_t i = 0; i < live.rounds.size(); ++i) {
        CHECK(again.rounds[i].drafted == live.rounds[i].drafted);
        CHECK(again.rounds[i].accepted == live.rounds[i].accepted);
        CHECK(again.rounds[i].emitted == live.rounds[i].emitted);
      }
    }
  }
}

TEST_CASE("what a replay above temperature 0 cannot tell is refused") {
  SamplingOptions sampled;
  sampled.temperature = 1;
  const auto target = make_replay_target(kToyVocab, {.recorded = sampled});
  const auto why = [&](const std::string& drafter, const std::string& verifier, double temperature = 1) {
    const auto setup = small_setup(drafter, verifier);
    SamplingOptions sampling;
    sampling.temperature = temperature;
    return incompatibility(*target, {*setup.drafter(), *setup.verifier(), *setup.policy()}, sampling).value_or("");
  };
  const std::string chain = "{type: model, num_speculative_tokens: 2}";
  CHECK(why(chain, "rejection").empty());
  CHECK_THAT(why(chain, "rejection", 0.5),
             Contains("drawn with temperature 1") && Contains("not with temperature 0.5"));
  for (const char* verifier : {"block", "traversal", "spectr", "optimal_transport", "typical", "fuzzy", "multi_step"})
    CHECK_THAT(why(chain, verifier), Contains("a replay can use: rejection, sample_then_match, sequential_one_hot"));
  CHECK_THAT(why("{type: cascade, num_speculative_tokens: 2}", "rejection"), Contains("draws cannot be made to agree"));
  CHECK(why("{type: cascade, num_speculative_tokens: 2}", "sample_then_match").empty());
  CHECK_THAT(why("token_recycling", "rejection"), Contains("off the recorded path"));
}

TEST_CASE("a recorded distribution keeps what was stored and shares the rest") {
  RecordedDistributions distributions(5);
  distributions.add(
      std::vector<float>{std::log(0.5F), std::log(0.2F), std::log(0.1F), std::log(0.15F), std::log(0.05F)}, 2, 2);
  const RecordedDistribution distribution = distributions[0];
  CHECK(Tokens(distribution.tokens.begin(), distribution.tokens.end()) == Tokens{0, 1});
  CHECK(distribution.rest == Approx(0.2));
  const std::vector<float> row = distributions.row(0);
  const std::vector<double> expected{0.5, 0.2, 0.1, 0.1, 0.1};
  for (std::size_t t = 0; t < 5; ++t) CHECK(std::exp(row[t]) == Approx(expected[t]));
}

}  // namespace
}  // namespace foretell
