// What the loop promises to strategies and to whoever reads its records, on the toy pipelines.
#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <tuple>

#include "experiments/certify/toy_pipeline.h"
#include "framework/core/stopwatch.h"
#include "framework/decoding/decoder.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

// The target drafts for itself: everything is accepted.
Setup perfect_draft(int depth, const std::shared_ptr<const ToyModel>& target) {
  const std::string drafter = fmt::format("{{type: model, num_speculative_tokens: {}}}", depth);
  Setup setup = toy_setup(drafter, "rejection", "", target);
  setup.drafter = [=] {
    BuildContext context;
    context.vocab = target->config().vocab_size;
    context.draft_model = "the target";
    context.load_model = [target](const std::string&) { return target; };
    return Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context);
  };
  return setup;
}

TEST_CASE("a draft is never deeper than the answer has room for") {
  std::vector<int> depths;
  int generated = 0;
  RunOptions options;
  options.decoder.on_round = [&](const RoundEvent& event) {
    // The target adds a token of its own.
    CHECK(event.view.draft.depth() <= event.request.max_new_tokens - generated - 1);
    depths.push_back(event.view.draft.depth());
    generated += event.record.emitted;
  };
  const Generation answer =
      run(perfect_draft(4, toy_target()), {{.prompt = {1, 2, 3}, .max_new_tokens = 13}}, options).front();
  CHECK(depths == std::vector<int>{4, 4, 2});
  CHECK(answer.tokens.size() == 13);
}

TEST_CASE("a draft is never deeper than the context has positions for") {
  constexpr int kContext = 24;
  int last_depth = -1;
  RunOptions options;
  options.decoder.on_round = [&](const RoundEvent& event) {
    const int before = static_cast<int>(event.view.committed.size()) - event.view.emitted;
    CHECK(before + event.view.draft.depth() <= kContext);
    last_depth = event.view.draft.depth();
  };
  const auto target = toy_target(11, kContext);
  const Request request{.prompt = {1, 2, 3}, .max_new_tokens = 1000};
  const Generation answer = run(perfect_draft(4, target), {request}, options).front();
  CHECK(answer.finish == FinishReason::Context);
  CHECK(answer.tokens == reference_greedy(*target, request));
  CHECK(last_depth < 4);
}

TEST_CASE("what is accepted beyond the end of an answer is not counted") {
  const auto target = toy_target();
  Request request{.prompt = {1, 2, 3}, .max_new_tokens = 40};
  const Tokens text = reference_greedy(*target, request);
  // The stop token comes up inside a draft that is accepted as a whole.
  std::size_t at = 1;
  while (std::find(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), text[at]) !=
         text.begin() + static_cast<std::ptrdiff_t>(at))
    ++at;
  request.stop_tokens = {text[at]};
  const Generation answer = run(perfect_draft(8, target), {request}).front();
  REQUIRE(at < 8);
  CHECK(answer.finish == FinishReason::StopToken);
  REQUIRE(answer.rounds.size() == 1);
  CHECK(answer.rounds[0].drafted == 8);
  CHECK(answer.rounds[0].accepted == static_cast<int>(at) + 1);
  CHECK(answer.rounds[0].emitted == static_cast<int>(at) + 1);
}

TEST_CASE("penalties follow a draft model's own path: the target as its own draft is accepted whole") {
  Request request{.prompt = {1, 2, 3}, .max_new_tokens = 60};
  request.sampling = {.temperature = 0.0, .repetition_penalty = 1.7, .presence_penalty = 1.0};
  const auto target = toy_target();
  const Generation plain = run(toy_setup("none", "greedy", "", target), {request}).front();
  const Generation drafted = run(perfect_draft(5, target), {request}).front();
  CHECK(drafted.tokens == plain.tokens);
  for (const RoundRecord& round : drafted.rounds) CHECK(round.accepted == round.drafted);
  request.sampling.temperature = 1.0;
  const Generation sampled = run(perfect_draft(5, target), {request}).front();
  for (const RoundRecord& round : sampled.rounds) CHECK(round.accepted == round.drafted);
}

TEST_CASE("random numbers differ by seed, request, position and purpose") {
  std::set<std::tuple<std::uint64_t, std::uint64_t, std::uint32_t, RngPurpose>> keys;
  std::map<std::uint64_t, std::set<std::uint32_t>> positions;
  int made = 0;
  RunOptions options{.batch = 2};
  options.decoder.make_rng = [&](const RngKey& key) {
    ++made;
    keys.insert({key.seed, key.request, key.position, key.purpose});
    if (key.purpose == RngPurpose::Verify) positions[key.request].insert(key.position);
    return std::make_unique<PhiloxRng>(key);
  };
  // What each request had committed when a round of its began.
  std::map<std::uint64_t, std::set<std::uint32_t>> committed;
  options.decoder.on_round = [&](const RoundEvent& event) {
    committed[event.request.id].insert(
        static_cast<std::uint32_t>(static_cast<int>(event.view.committed.size()) - event.view.emitted));
  };
  std::vector<Request> requests;
  for (const std::uint64_t id : {3, 4, 5}) {
    requests.push_back({.id = id, .prompt = {1, 2, 3}, .max_new_tokens = 12, .seed = 77 + id / 5});
    requests.back().sampling.temperature = 1.0;
  }
  run(toy_setup("{type: model, num_speculative_tokens: 3}"), requests, options);
  CHECK(made == static_cast<int>(keys.size()));  // no two streams are the same
  CHECK(positions == committed);
  for (const auto& [seed, request, position, purpose] : keys) {
    CHECK(seed == 77 + request / 5);
    CHECK((purpose == RngPurpose::Draft || purpose == RngPurpose::Verify));
  }
}

void wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

// Passes everything on and takes its time.
class SlowDrafter final : public Drafter {
 public:
  explicit SlowDrafter(std::unique_ptr<Drafter> inner) : inner_(std::move(inner)) {}
  DraftBudget limits() const override { return inner_->limits(); }
  DraftForm form() const override { return inner_->form(); }
  void begin(SlotId slot, const PromptView& prompt) override { inner_->begin(slot, prompt); }
  void end(SlotId slot) override { inner_->end(slot); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    wait_a_little();
    return inner_->draft(batch);
  }
  void observe(std::span<const RoundView> rounds) override {
    wait_a_little();
    inner_->observe(rounds);
  }

 private:
  std::unique_ptr<Drafter> inner_;
};

class SlowTarget final : public Target {
 public:
  explicit SlowTarget(std::unique_ptr<Target> inner) : inner_(std::move(inner)) {}
  int vocab() const override { return inner_->vocab(); }
  std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenStateRequest& wants) override {
    return inner_->open(request, rows, wants);
  }
  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    wait_a_little();
    return inner_->score(batch);
  }

 private:
  std::unique_ptr<Target> inner_;
};

// Once a batch: for its first sequence.
class SlowVerifier final : public Verifier {
 public:
  explicit SlowVerifier(std::unique_ptr<Verifier> inner, int batch) : inner_(std::move(inner)), batch_(batch) {}
  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    if (calls_++ % batch_ == 0) wait_a_little();
    return inner_->verify(draft, scores, rng);
  }

 private:
  std::unique_ptr<Verifier> inner_;
  int batch_;
  mutable int calls_ = 0;
};

TEST_CASE("phase times of a batch are shared among its sequences") {
  constexpr int kBatch = 16;
  Setup setup = toy_setup("{type: model, num_speculative_tokens: 2}");
  const Setup plain = setup;
  setup.target = [&] { return std::make_unique<SlowTarget>(plain.target()); };
  setup.drafter = [&] { return std::make_unique<SlowDrafter>(plain.drafter()); };
  setup.verifier = [&] { return std::make_unique<SlowVerifier>(plain.verifier(), kBatch); };
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < kBatch; ++id)
    requests.push_back({.id = id, .prompt = {1, 2, 3}, .max_new_tokens = 3});
  const Stopwatch watch;
  const std::vector<Generation> answers = run(setup, requests, {.batch = kBatch});
  const std::int64_t passed = watch.elapsed_ns();
  // Whatever the machine does beside: each phase took its time, and all shares together are no more than the time that
  // passed.
  PhaseTimes sum;
  for (const Generation& answer : answers) {
    for (const RoundRecord& round : answer.rounds) {
      sum.draft += round.ns.draft;
      sum.score += round.ns.score;
      sum.verify += round.ns.verify;
      sum.commit += round.ns.commit;
    }
  }
  for (const std::int64_t phase : {sum.draft, sum.score, sum.verify, sum.commit}) CHECK(phase >= 1'900'000);
  CHECK(sum.total() <= passed);
}

}  // namespace
}  // namespace foretell::testing
