#include "tests/conformance/faults.h"

#include <algorithm>

#include "framework/api/rejection_walk.h"
#include "framework/decoding/model_target.h"
#include "framework/model/language_model.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

// ---- verifiers

// Draws the correction from the target's distribution instead of the residual.
class DroppedResidual final : public Verifier {
 public:
  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    Verdict verdict;
    NodeId at = kAnchor;
    for (;;) {
      const Distribution& p = scores.distribution(at);
      std::optional<NodeId> chosen;
      for (const Proposal& proposal : draft.proposals(at)) {
        const Token token = draft.node(proposal.node).token;
        if (!chosen && rng.bernoulli(p[token] / draft.distribution(proposal.distribution).q[token]))
          chosen = proposal.node;
      }
      if (!chosen) {
        verdict.next = p.draw(rng);
        verdict.kind = draft.proposals(at).empty() ? NextKind::Bonus : NextKind::Correction;
        return verdict;
      }
      verdict.accepted.push_back(at = *chosen);
    }
  }
};

// Draws one sample to test the drafted token and, after a mismatch, another one to emit: the nucleus rule of two public
// code bases.
class ResampledMismatch final : public Verifier {
 public:
  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    Verdict verdict;
    NodeId at = kAnchor;
    for (;;) {
      const Distribution& p = scores.distribution(at);
      const auto next = draft.child(at, p.draw(rng));
      if (!next) {
        verdict.next = p.draw(rng);
        verdict.kind = draft.proposals(at).empty() ? NextKind::Bonus : NextKind::Correction;
        return verdict;
      }
      verdict.accepted.push_back(at = *next);
    }
  }
};

// From the fourth drafted token on takes the target's distribution for the draft's and the other way round, where they
// are drawn from.
class SwappedFromFourth final : public WalkVerifier {
 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const Proposal& proposal = draft.proposals(at).front();  // a chain
    const Token token = draft.node(proposal.node).token;
    const Distribution &target = scores.distribution(at), &drafted = draft.distribution(proposal.distribution).q;
    const bool swapped = draft.depth(proposal.node) >= 4 && !target.is_point_mass();
    const Distribution &p = swapped ? drafted : target, &q = swapped ? target : drafted;
    return rng.bernoulli(p[token] / q[token]) ? accept(proposal.node) : end_with(residual(p, q).draw(rng));
  }
};

// ---- drafters

// Passes a correct drafter's trees through a change.
class ChangedDrafter : public Drafter {
 public:
  explicit ChangedDrafter(std::unique_ptr<Drafter> inner) : inner_(std::move(inner)) {}
  DraftBudget limits() const override { return inner_->limits(); }
  DraftForm form() const override { return inner_->form(); }
  void begin(SlotId slot, const PromptView& prompt) override { inner_->begin(slot, prompt); }
  void end(SlotId slot) override { inner_->end(slot); }
  void observe(std::span<const RoundView> rounds) override { inner_->observe(rounds); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> out;
    for (const DraftTree& tree : inner_->draft(batch)) out.push_back(change(tree));
    return out;
  }

 protected:
  virtual DraftTree change(const DraftTree& tree) = 0;

 private:
  std::unique_ptr<Drafter> inner_;
};

// Reports a distribution that is not the one the token was drawn from: here the distribution squared and renormalised,
// as if at half the temperature.
class WrongDistribution final : public ChangedDrafter {
 public:
  using ChangedDrafter::ChangedDrafter;
  DraftTree change(const DraftTree& tree) override {
    DraftTree out(tree.node(kAnchor).token);
    for (NodeId parent = 0; parent < tree.size(); ++parent)
      for (const Proposal& proposal : tree.proposals(parent)) {
        std::vector<double> weights(static_cast<std::size_t>(tree.distribution(proposal.distribution).q.vocab()));
        tree.distribution(proposal.distribution).q.for_each([&](Token t, double p) {
          weights[static_cast<std::size_t>(t)] = p * p;
        });
        out.propose(parent, tree.node(proposal.node).token,
                    out.add_distribution(Distribution::dense(std::move(weights)),
                                         tree.distribution(proposal.distribution).kind));
      }
    return out;
  }
};

// Shows a draft only if its draw came out as hoped.
class SelectedDraw final : public ChangedDrafter {
 public:
  using ChangedDrafter::ChangedDrafter;
  DraftTree change(const DraftTree& tree) override {
    DraftTree out(tree.node(kAnchor).token);
    for (NodeId parent = 0; parent < tree.size(); ++parent)
      for (const Proposal& proposal : tree.proposals(parent)) {
        const Distribution& q = tree.distribution(proposal.distribution).q;
        const Token token = tree.node(proposal.node).token;
        if (token != q.mode()) return out;
        out.propose(parent, token, out.add_distribution(q, tree.distribution(proposal.distribution).kind));
      }
    return out;
  }
};

// A cascade that reports the distribution of its first token for all that follow the second.
class FirstDistributionForAll final : public ChangedDrafter {
 public:
  using ChangedDrafter::ChangedDrafter;
  DraftTree change(const DraftTree& tree) override {  // a chain
    DraftTree out(tree.node(kAnchor).token);
    for (NodeId node = 1; node < tree.size(); ++node) {
      const auto distribution_of = [&](NodeId drafted) -> const DraftDistribution& {
        return tree.distribution(tree.proposals(drafted - 1).front().distribution);
      };
      const DraftDistribution& distribution =
          node < 3 || distribution_of(node).q.is_point_mass() ? distribution_of(node) : distribution_of(1);
      out.propose(node - 1, tree.node(node).token, out.add_distribution(distribution.q, distribution.kind));
    }
    return out;
  }
};

// Drops a drawn token because it turned out improbable.
class DropsImprobable final : public ChangedDrafter {
 public:
  using ChangedDrafter::ChangedDrafter;
  DraftTree change(const DraftTree& tree) override {  // a chain
    DraftTree out(tree.node(kAnchor).token);
    for (NodeId node = 1; node < tree.size(); ++node) {
      const DraftDistribution& distribution = tree.distribution(tree.proposals(node - 1).front().distribution);
      if (distribution.q[tree.node(node).token] < 0.35) break;
      out.propose(node - 1, tree.node(node).token, out.add_distribution(distribution.q, distribution.kind));
    }
    return out;
  }
};

// ---- caches and targets

// Does something else than keep() says.
class FaultyCache final : public KvCache {
 public:
  FaultyCache(std::unique_ptr<KvCache> inner, bool keep_rejected)
      : inner_(std::move(inner)), keep_rejected_(keep_rejected) {}
  int num_layers() const override { return inner_->num_layers(); }
  int capacity() const override { return inner_->capacity(); }
  int length(LayerRange layers) const override { return inner_->length(layers); }
  void truncate(LayerRange layers, int length) override { inner_->truncate(layers, length); }
  void keep(LayerRange layers, int base, std::span<const int> rows) override {
    // Missing keep: the right number of rows, but the first ones instead of the accepted path's. No truncation: all of
    // them.
    if (keep_rejected_) {
      if (rows.empty()) inner_->truncate(layers, base);
      return;
    }
    inner_->truncate(layers, base + static_cast<int>(rows.size()));
  }
  void pad(int length) override { inner_->pad(length); }
  std::size_t bytes() const override { return inner_->bytes(); }
  KvCache& inner() { return *inner_; }

 private:
  std::unique_ptr<KvCache> inner_;
  bool keep_rejected_;
};

class FaultyCacheModel final : public LanguageModel {
 public:
  FaultyCacheModel(std::shared_ptr<const ToyModel> inner, bool keep_rejected)
      : inner_(std::move(inner)), keep_rejected_(keep_rejected) {}
  const ModelConfig& config() const override { return inner_->config(); }
  std::unique_ptr<KvCache> make_cache(int capacity) const override {
    return std::make_unique<FaultyCache>(inner_->make_cache(capacity + 4096), keep_rejected_);
  }
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const override {
    std::vector<ForwardItem> items(batch.begin(), batch.end());
    for (ForwardItem& item : items) item.cache = &static_cast<FaultyCache*>(item.cache)->inner();
    return inner_->forward(items, options);
  }
  at::Device device() const override { return inner_->device(); }

 private:
  std::shared_ptr<const ToyModel> inner_;
  bool keep_rejected_;
};

// Looks for stop tokens in the target's own token only: what was drafted and accepted after one is emitted too. The
// loop's request is its own copy; its stop tokens are taken away for the rounds in which the draft has one.
class IgnoresDraftedStops final : public ChangedDrafter {
 public:
  using ChangedDrafter::ChangedDrafter;
  void begin(SlotId slot, const PromptView& prompt) override {
    ChangedDrafter::begin(slot, prompt);
    request_ = &const_cast<Request&>(prompt.request);
    stops_ = request_->stop_tokens;
  }
  void observe(std::span<const RoundView> rounds) override {
    ChangedDrafter::observe(rounds);
    request_->stop_tokens = stops_;
  }
  DraftTree change(const DraftTree& tree) override {
    const auto is_stop = [&](const DraftNode& node) {
      return std::find(stops_.begin(), stops_.end(), node.token) != stops_.end();
    };
    const auto drafted = tree.nodes().subspan(1);
    if (std::any_of(drafted.begin(), drafted.end(), is_stop)) request_->stop_tokens.clear();
    return tree;
  }

 private:
  Request* request_ = nullptr;
  std::vector<Token> stops_;
};

// Warps the draft's distribution and not the target's: scores are those of temperature 1 whatever was asked for.
class UnwarpedTarget final : public Target {
 public:
  explicit UnwarpedTarget(std::unique_ptr<Target> inner)
      : inner_(std::move(inner)), plain_(at_one(), inner_->vocab()) {}
  int vocab() const override { return inner_->vocab(); }
  std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenStateRequest& wants) override {
    return inner_->open(request, rows, wants);
  }
  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<ScoreRequest> changed;
    for (const ScoreRequest& request : batch)
      changed.push_back(
          {request.session, request.draft, request.sampler.greedy() ? request.sampler : plain_, request.context});
    return inner_->score(changed);
  }

 private:
  static SamplingOptions at_one() {
    SamplingOptions options;
    options.temperature = 1;
    return options;
  }
  std::unique_ptr<Target> inner_;
  Sampler plain_;
};

const char* const kChain = "{type: model, num_speculative_tokens: 2}";

std::shared_ptr<const ToyModel> small() { return toy_target(3, 48); }

template <class Faulty>
Setup with_drafter(const char* yaml = kChain) {
  Setup setup = toy_setup(yaml, "rejection", "", small());
  setup.drafter = [make = setup.drafter] { return std::make_unique<Faulty>(make()); };
  return setup;
}

template <class Faulty>
Setup with_verifier(const char* yaml = kChain) {
  Setup setup = toy_setup(yaml, "rejection", "", small());
  setup.verifier = [] { return std::make_unique<Faulty>(); };
  return setup;
}

Setup with_cache(bool keep_rejected, const char* tree) {
  const auto target = toy_target(11, 4096);
  Setup setup = toy_setup("{type: model, draft_sample_method: top_k}", "rejection", tree, target);
  setup.target = [=] { return make_model_target(std::make_shared<FaultyCacheModel>(target, keep_rejected)); };
  return setup;
}

Setup with_unwarped_target() {
  Setup setup = toy_setup(kChain, "rejection", "", small());
  setup.target = [make = setup.target] { return std::make_unique<UnwarpedTarget>(make()); };
  return setup;
}

Setup with_ignored_stops() {
  Setup setup = toy_setup("{type: model, num_speculative_tokens: 4}");
  setup.drafter = [make = setup.drafter] { return std::make_unique<IgnoresDraftedStops>(make()); };
  return setup;
}

}  // namespace

std::vector<Fault> planted_faults() {
  std::vector<Fault> out;
  out.push_back({"dropped residual", "the correction is drawn from p, not from norm(max(p - q, 0))",
                 with_verifier<DroppedResidual>()});
  out.push_back({"resampled mismatch",
                 "a second sample is emitted after the first one did not match (the nucleus rule)",
                 with_verifier<ResampledMismatch>()});
  out.push_back({"wrong q", "the draft's distribution is reported at another temperature than it was drawn at",
                 with_drafter<WrongDistribution>()});
  out.push_back({"selected draw", "a draft is shown only if the draw was the mode", with_drafter<SelectedDraw>()});
  out.push_back({"dropped draw", "a drawn token is dropped because it is improbable", with_drafter<DropsImprobable>()});
  out.push_back({"unwarped target",
                 "the draft's distribution has the temperature that was asked for, the target's has not",
                 with_unwarped_target()});
  out.push_back({"missing keep", "the cache keeps the first rows of a tree, not the accepted path's",
                 with_cache(false, "{type: widths, widths: [3, 2]}")});
  out.push_back(
      {"no truncation", "rejected rows stay in the cache", with_cache(true, "{type: widths, widths: [1, 1, 1]}")});
  out.push_back({"stop ignored", "a stop token inside a draft does not end the answer", with_ignored_stops()});
  return out;
}

std::vector<DeepFault> deep_faults() {
  const auto swapped = [](std::shared_ptr<const KnownModel> target, bool) {
    Setup setup = toy_setup("{type: model, num_speculative_tokens: 6}", "rejection", "", std::move(target));
    setup.verifier = [] { return std::make_unique<SwappedFromFourth>(); };
    return setup;
  };
  const auto first_distribution = [](std::shared_ptr<const KnownModel> target, bool) {
    const char* const cascade =
        "{type: cascade, model: other, drafter: {type: model, num_speculative_tokens: 3}, num_speculative_tokens: 6}";
    Setup setup = toy_setup(cascade, "rejection", "", std::move(target));
    setup.drafter = [make = setup.drafter] { return std::make_unique<FirstDistributionForAll>(make()); };
    return setup;
  };
  return {{"swapped from the 4th", "the distributions of target and draft are swapped from the fourth drafted token on",
           swapped},
          {"first distribution for all",
           "a cascade reports the distribution of its first token for all that follow the second", first_distribution}};
}

}  // namespace foretell::testing
