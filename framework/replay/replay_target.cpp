#include "framework/replay/replay_target.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/replay/recorded_distributions.h"

namespace foretell::replay {
namespace {

std::shared_ptr<const RecordedDistributions> distributions_of(const Request& request) {
  return std::dynamic_pointer_cast<const RecordedDistributions>(request.data);
}

// What follows each node that lies on the recorded path.
class ReplayScores final : public Scores {
 public:
  // `open_end`: the draft may reach beyond the end of the path.
  ReplayScores(const DraftTree& draft, TokenSpan ahead, int vocab, bool open_end) {
    NodeId at = kAnchor;
    for (const Token token : ahead) {
      distributions_.emplace(at, Distribution::point_mass(vocab, token));
      const auto next = draft.child(at, token);
      if (!next) return;
      at = *next;
    }
    if (open_end) distributions_.emplace(at, Distribution::point_mass(vocab, undrafted(draft, at, vocab)));
  }
  Token argmax(NodeId node) override { return distribution(node).mode(); }
  const Distribution& distribution(NodeId node) override {
    const auto it = distributions_.find(node);
    if (it == distributions_.end())
      fail("the recorded answer says nothing about node {} of the draft: it is off the recorded path or past its end",
           node);
    return it->second;
  }
  std::span<const float> logits(NodeId) override { fail("a recorded answer has no logits"); }

 private:
  // The answer is over: any token ends the round there, and none is emitted.
  static Token undrafted(const DraftTree& draft, NodeId at, int vocab) {
    Token token = 0;
    while (token + 1 < vocab && draft.child(at, token)) ++token;
    return token;
  }

  std::unordered_map<NodeId, Distribution> distributions_;
};

// The draws of one round, given what will be emitted.
class DrawsGivenOutput final : public DrawSource {
 public:
  explicit DrawsGivenOutput(const RecordedDistributions& distributions) : distributions_(distributions) {}

  // The next token to be emitted has this position.
  void begin_round(int position) {
    position_ = position;
    nodes_.clear();
  }

  Token draw(const DraftTree& tree, NodeId parent, const Distribution& q, const Sampler& sampler, Rng& rng) override {
    const int at = position_ + tree.depth(parent);
    if (at >= distributions_.size() || !on_path(tree, parent)) return q.draw(rng);
    const Token token = distributions_[at].token;
    if (tree.child(parent, token)) return q.draw(rng);  // a test has accepted: the others are not made
    const auto [node, fresh] = nodes_.try_emplace(parent);
    std::optional<Distribution>& p = node->second;
    if (fresh) p = distribution(at, q.vocab(), sampler);
    const Excess rejected = excess(q, *p);
    if (!rejected.distribution || rng.bernoulli(q[token] / (*p)[token])) return token;
    p = residual(*p, q);
    return rejected.distribution->draw(rng);
  }

 private:
  Distribution distribution(int position, int vocab, const Sampler& sampler) const {
    const std::vector<float> row = distributions_.row(position);
    Distribution p = sampler.distribution(row);
    if (p[distributions_[position].token] > 0) return p;
    // It was drawn, so it was kept: rounding or the rest of the distribution has moved the edge of a cut across it.
    // Without the cuts it has a probability.
    SamplingOptions uncut;
    uncut.temperature = sampler.options().temperature;
    return Sampler(uncut, vocab).distribution(row);
  }

  bool on_path(const DraftTree& tree, NodeId node) const {
    for (; node != kAnchor; node = tree.node(node).parent)
      if (tree.node(node).token != distributions_[position_ + tree.depth(node) - 1].token) return false;
    return true;
  }

  const RecordedDistributions& distributions_;
  int position_ = 0;
  std::unordered_map<NodeId, std::optional<Distribution>>
      nodes_;  // what rejections have left of the target's distribution
};

class ReplaySession final : public TargetSession {
 public:
  ReplaySession(const Request& request, const ReplayOptions& options)
      : answer_(request.reference), distributions_(distributions_of(request)) {
    if (!distributions_) return;
    context_ = options.context.value_or(std::numeric_limits<int>::max());
    if (!request.sampling.greedy()) given_.emplace(*distributions_);
  }
  void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) override {
    if (!tokens.empty() && on_chunk) on_chunk({0, tokens, nullptr});
    length_ = static_cast<int>(tokens.size());
  }
  void keep(std::span<const NodeId> accepted) override {
    length_ += 1 + static_cast<int>(accepted.size());
    emitted_ += accepted.size() + 1;
    if (given_) given_->begin_round(static_cast<int>(emitted_));
  }
  int length() const override { return length_; }
  int room() const override { return std::numeric_limits<int>::max(); }
  // Without distributions the recording says what follows a token up to its last one: the draft must stop before that.
  int positions_left() const override { return distributions_ ? context_ - length_ : static_cast<int>(ahead().size()); }
  // Where proposals are tested against their distribution, what was drafted depends on the output.
  DrawSource* draws(AcceptanceRule rule) override {
    return given_ && rule == AcceptanceRule::Rejection ? &*given_ : nullptr;
  }
  TokenSpan ahead() const { return TokenSpan(answer_).subspan(std::min(emitted_, answer_.size())); }
  bool has_distributions() const { return distributions_ != nullptr; }

 private:
  Tokens answer_;
  std::shared_ptr<const RecordedDistributions> distributions_;
  std::optional<DrawsGivenOutput> given_;
  std::size_t emitted_ = 0;
  int length_ = 0;
  int context_ = 0;
};

class ReplayTarget final : public Target {
 public:
  ReplayTarget(int vocab, ReplayOptions options) : vocab_(vocab), options_(std::move(options)) {}
  int vocab() const override { return vocab_; }
  std::unique_ptr<TargetSession> open(const Request& request, int, const HiddenStateRequest& wants) override {
    if (request.reference.empty()) fail("request {}: there is no recorded answer to replay", request.id);
    for (const TokenSpan tokens : {TokenSpan(request.prompt), TokenSpan(request.reference)})
      for (const Token token : tokens)
        if (token < 0 || token >= vocab_)
          fail("request {}: token {} is outside the vocabulary of {} tokens", request.id, token, vocab_);
    if (!wants.empty())
      fail("request {}: the drafter needs the target's hidden states; a recorded answer has none", request.id);
    const auto distributions = distributions_of(request);
    if (!request.sampling.greedy() && !distributions)
      fail("request {}: temperature {} needs the distributions of the recorded answer", request.id,
           request.sampling.temperature);
    FORETELL_CHECK(!distributions || std::ranges::equal(distributions->answer(), request.reference),
                   "distributions of another answer for request {}", request.id);
    return std::make_unique<ReplaySession>(request, options_);
  }

  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<std::unique_ptr<Scores>> out;
    for (const ScoreRequest& r : batch) {
      const auto& session = static_cast<ReplaySession&>(r.session);
      out.push_back(std::make_unique<ReplayScores>(r.draft, session.ahead(), vocab_, session.has_distributions()));
    }
    return out;
  }

  std::optional<std::string> unsupported_reason(const PipelineTraits& pipeline,
                                                const SamplingOptions& sampling) const override {
    if (!options_.recorded && !sampling.greedy())
      return fmt::format("temperature {}: a recorded greedy answer can be replayed at temperature 0 only",
                         sampling.temperature);
    if (sampling.repetition_penalty != 1.0 || sampling.presence_penalty != 0.0 || !sampling.logit_bias.empty())
      return "penalties and logit bias change what the target would have said: a recorded answer cannot follow them";
    if (options_.recorded && words(*options_.recorded) != words(sampling))
      return fmt::format(
          "the answers were drawn with {}; they can be replayed with the same sampling only, not with {}",
          words(*options_.recorded), words(sampling));
    if (pipeline.verifier_needs_logits || pipeline.drafter.needs_logits)
      return fmt::format(
          "{} needs the target's probabilities off the recorded path; a recorded answer does not have them",
          pipeline.verifier_needs_logits ? "the verifier" : "the drafter");
    return sampling.greedy() ? std::nullopt : refuses_sampled(pipeline);
  }

 private:
  // Of a run given its output.
  static std::optional<std::string> refuses_sampled(const PipelineTraits& pipeline) {
    if (pipeline.acceptance == AcceptanceRule::Other)
      return fmt::format(
          "what this verifier accepts cannot be told from the recorded tokens above temperature 0; a replay can use: "
          "{}",
          fmt::join(verifiers_that_can(), ", "));
    const bool drawn = pipeline.form.independent || pipeline.form.without_replacement;
    if (drawn && pipeline.acceptance == AcceptanceRule::Rejection && !pipeline.drafter.draws_through_context)
      return "this drafter's draws cannot be made to agree with the recorded tokens above temperature 0; a replay can "
             "use drafters of chosen tokens, model and universal, or the verifier sample_then_match";
    return std::nullopt;
  }

  static std::vector<std::string> verifiers_that_can() {
    std::vector<std::string> out;
    for (const auto& [name, entry] : Registry<Verifier>::instance().entries())
      if (entry.info.acceptance != AcceptanceRule::Other) out.push_back(name);
    return out;
  }

  static std::string words(const SamplingOptions& s) {
    if (s.greedy()) return "temperature 0";
    return fmt::format("temperature {}, top_k {}, top_p {}, min_p {}", s.temperature, s.top_k, s.top_p, s.min_p);
  }

  int vocab_;
  ReplayOptions options_;
};

}  // namespace

std::unique_ptr<Target> make_replay_target(int vocab, ReplayOptions options) {
  return std::make_unique<ReplayTarget>(vocab, std::move(options));
}

}  // namespace foretell::replay
