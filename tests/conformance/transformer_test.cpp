// Certification's second world: what its reference is worth, and faults that toys do not show.
#include <ATen/ops/stack.h>

#include <algorithm>
#include <map>

#include "experiments/certify/certificate.h"
#include "experiments/certify/real_model.h"
#include "framework/api/attention_policy.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/model_target.h"
#include "framework/decoding/target_view.h"
#include "framework/model/hidden.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

TEST_CASE("the transformer's reference is a forward of the whole text", "[transformer]") {
  const auto target = real_target();
  const Tokens text{3, 1, 15, 0, 3, 1, 7, 7, 2, 9};
  const auto cache = target->make_cache(16);
  const at::Tensor whole = target->forward({TokenSpan(text), ChainShape{}, cache.get(), LogitRows::All}).logits;
  for (const std::size_t length : {10, 4, 7, 8, 2, 10, 1}) {  // forwards, backwards, again
    const std::vector<float> found = target->logits_after(TokenSpan(text).first(length));
    const at::Tensor row = whole[static_cast<std::int64_t>(length) - 1];
    REQUIRE(found.size() == 16);
    for (std::size_t t = 0; t < 16; ++t) CHECK(found[t] == Approx(row.const_data_ptr<float>()[t]).margin(1e-5));
  }
}

TEST_CASE("a distribution of few tokens is that of the most probable ones, and a joint distribution is their product",
          "[transformer]") {
  const auto target = real_target();
  const Tokens text{1, 2, 3};
  const auto all = reference_distribution(*target, text, 1.0), few = reference_distribution(*target, text, 1.0, 3);
  const double least =
      *std::min_element(few.begin(), few.end(), [](double a, double b) { return (a > 0 ? a : 2) < (b > 0 ? b : 2); });
  double mass = 0;
  for (std::size_t t = 0; t < 16; ++t) {
    if (few[t] > 0) mass += all[t];
    if (few[t] == 0) CHECK(all[t] < least);
  }
  CHECK(std::count_if(few.begin(), few.end(), [](double p) { return p > 0; }) == 3);
  for (std::size_t t = 0; t < 16; ++t) CHECK(few[t] == Approx(few[t] > 0 ? all[t] / mass : 0).margin(1e-12));
  CHECK(reference_joint_distribution(*target, text, 2, 1.0, 3).size() == 9);
}

TEST_CASE("its drafts agree with it on many tokens and not on all", "[transformer]") {
  const Setup setup = toy_setup("{type: model, num_speculative_tokens: 4}", "rejection", "", real_target());
  Exercise exercise;
  CHECK(check_real(setup, {}, &exercise).value_or("") == "");
  CHECK(exercise.accepted > 300);
  CHECK(exercise.rejected > 300);
}

// ---- faults: right on toys, which look at three tokens and keep tokens as their cache

// A drafter that works on the target's cache and leaves its own rows of committed tokens there.
class LeavesItsRows final : public PerSequenceDrafter {
 public:
  explicit LeavesItsRows(std::shared_ptr<const LanguageModel> rounded) : rounded_(std::move(rounded)) {}
  DraftBudget limits() const override { return {2, 2, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }

 private:
  struct One final : SequenceDrafter {
    explicit One(const LanguageModel& rounded) : model(rounded) {}
    DraftTree draft(const DraftContext& context) override {
      DraftTree tree(context.committed.back());
      if (context.budget.nodes == 0) return tree;
      KvCache& cache = context.target->lend();
      const auto held = static_cast<int>(context.committed.size()) - 1, from = std::max(held - 3, 0);
      cache.truncate(from);
      const auto logits = model
                              .forward({context.committed.subspan(static_cast<std::size_t>(from)), ChainShape{}, &cache,
                                        LogitRows::Last})
                              .logits;
      cache.truncate(held);  // of what it drafted nothing is left, but three committed rows are its own
      tree.choose(kAnchor, static_cast<Token>(logits.argmax().item<std::int64_t>()), context.vocab);
      return tree;
    }
    const LanguageModel& model;
  };
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override { return std::make_unique<One>(*rounded_); }
  std::shared_ptr<const LanguageModel> rounded_;
};

// A target whose rows see the last twelve cached tokens alone.
class ForgetfulModel final : public LanguageModel {
 public:
  explicit ForgetfulModel(std::shared_ptr<const LanguageModel> inner) : inner_(std::move(inner)) {}
  const ModelConfig& config() const override { return inner_->config(); }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return inner_->make_cache(capacity); }
  at::Device device() const override { return inner_->device(); }
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const override {
    std::vector<ForwardItem> items(batch.begin(), batch.end());
    for (ForwardItem& item : items) item.attention.policy = &last_;
    return inner_->forward(items, options);
  }

 private:
  struct Last final : AttentionPolicy {
    std::unique_ptr<AttentionPolicy> fresh() const override { return std::make_unique<Last>(); }
    KvSelection select_kv(const AttentionView& view) override {
      KvSelection out;
      for (int row = std::max(view.cached - 12, 0); row < view.cached; ++row) out.rows.push_back(row);
      return out;
    }
  };
  std::shared_ptr<const LanguageModel> inner_;
  mutable Last last_;
};

// A verifier with room for eleven tokens.
class NarrowVerifier final : public Verifier {
 public:
  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    Verdict verdict = inner_->verify(draft, scores, rng);
    verdict.next = std::min(verdict.next, Token{10});
    return verdict;
  }

 private:
  std::unique_ptr<Verifier> inner_ = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), {});
};

struct ToyBlindFault {
  std::string name;
  SetupOn on;
};

std::vector<ToyBlindFault> toy_blind_faults() {
  const auto chain = [](std::shared_ptr<const KnownModel> target) {
    return toy_setup("{type: model, num_speculative_tokens: 4}", "rejection", "", std::move(target));
  };
  return {{"a drafter leaves its own rows of committed tokens in the target's cache",
           [=](std::shared_ptr<const KnownModel> target, bool) {
             Setup setup = chain(target);
             const std::shared_ptr<const LanguageModel> rounded = target->parts() ? target->quantised({}) : target;
             setup.drafter = [=] { return std::make_unique<LeavesItsRows>(rounded); };
             return setup;
           }},
          {"cached tokens are out of sight after the twelfth",
           [=](std::shared_ptr<const KnownModel> target, bool) {
             Setup setup = chain(target);
             setup.target = [=] { return make_model_target(std::make_shared<ForgetfulModel>(target)); };
             return setup;
           }},
          {"a verifier has room for eleven tokens", [=](std::shared_ptr<const KnownModel> target, bool) {
             Setup setup = chain(std::move(target));
             setup.verifier = [] { return std::make_unique<NarrowVerifier>(); };
             return setup;
           }}};
}

TEST_CASE("faults that no toy shows are caught on the transformer", "[transformer][faults]") {
  for (const ToyBlindFault& fault : toy_blind_faults()) {
    INFO(fault.name);
    CHECK(check_exact(fault.on(toy_target(3), false)).value_or("") == "");
    CHECK(check_identity(fault.on(toy_target(11), false)).value_or("") == "");
    CHECK(check_real(fault.on(real_target(), false), {}));
    PipelineClaim claim;
    claim.real = true;
    const CertificateRow row = certify_pipeline(fault.on, claim);
    CHECK(row.verdict == Ruling::Failed);
    CHECK_THAT(row.reason, Catch::StartsWith("on a random transformer: "));
    CHECK(row.real == false);
    CHECK(!passes(row, false));
  }
}

// ---- a drafter that no toy can serve: it reads hidden states and borrows the head

struct OwnHeadSource final : LevelSource {
  explicit OwnHeadSource(const ModelParts& lent) : parts(lent) {}
  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }
  int deepest() const override { return 3; }
  bool rewinds() const override { return false; }
  void begin(SlotId slot, const PromptView&, int) override { states.erase(slot); }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override {
    states[slot] = chunk.hidden->final_state[-1].clone();
  }
  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds) {
      const NodeId last = round.verdict.accepted.empty() ? kAnchor : round.verdict.accepted.back();
      states[round.slot] = round.scores.hidden()->final_state[last].clone();
    }
  }
  void end(SlotId slot) override { states.erase(slot); }
  LevelRows level(std::span<const LevelRequest> batch, int depth) override {
    LevelRows out;
    std::vector<at::Tensor> rows;
    for (const LevelRequest& request : batch) {
      const auto found = states.find(request.context.slot);
      for (std::size_t i = 0; i < request.frontier.size(); ++i)
        out.row_of.push_back(found == states.end() ? LevelRows::kNone : static_cast<int>(rows.size()));
      if (found != states.end()) rows.push_back(found->second.div(depth));
    }
    if (!rows.empty()) out.logits = HostLogits(parts.head().logits(at::stack(rows)));
    return out;
  }
  const ModelParts& parts;
  std::map<SlotId, at::Tensor> states;
};

SetupOn on_heads(const std::string& tree) {
  return [=](std::shared_ptr<const KnownModel> target, bool) {
    Setup setup = toy_setup("none", "rejection", "", target);
    setup.drafter = [=]() -> std::unique_ptr<Drafter> {
      if (!target->parts()) fail("this drafter needs a model as target");
      BuildContext context;
      context.vocab = target->config().vocab_size;
      if (!tree.empty()) context.tree = parse_yaml(tree, "tree");
      return std::make_unique<LevelDrafter>(ModelDraftOptions{}, std::make_unique<OwnHeadSource>(*target->parts()),
                                            context);
    };
    return setup;
  };
}

TEST_CASE("a drafter that reads hidden states is certified like all others, on the transformer", "[transformer]") {
  const SetupOn on = on_heads("{type: widths, widths: [2, 1]}");
  CHECK(!builds_on_toys(on));
  PipelineClaim claim{.draft = {.many_branches = true}};
  claim.real = true;
  const CertificateRow row = certify_pipeline(on, claim);
  INFO(row.reason);
  CHECK(row.verdict == Ruling::Lossless);
  CHECK(!row.on_toys);
  CHECK(row.real == true);
  REQUIRE(row.exact);
  CHECK(row.exact->total_variation < 1e-5);
  CHECK(row.exact->exercise.accepted > 0);
  CHECK(row.exact->exercise.rejected > 0);
  CHECK(row.sampled->p_value > 1e-4);
  CHECK(row.controls.size() >= 3);
  const auto neither = [](std::shared_ptr<const KnownModel> target, bool) {
    Setup setup = toy_setup("none", "rejection", "", std::move(target));
    setup.drafter = []() -> std::unique_ptr<Drafter> { fail("no such file"); };
    return setup;
  };
  CHECK_THROWS_WITH(builds_on_toys(neither), "no such file");
}

}  // namespace
}  // namespace foretell::testing
