#include "framework/decode/replay_target.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "framework/base/error.h"

namespace foretell {
namespace {

// What follows each node that lies on the recorded path.
class ReplayScores final : public Scores {
 public:
  ReplayScores(const DraftTree& draft, TokenSpan ahead, int vocab) {
    NodeId at = kAnchor;
    for (const Token token : ahead) {
      laws_.emplace(at, Law::point_mass(vocab, token));
      const auto next = draft.child(at, token);
      if (!next) break;
      at = *next;
    }
  }
  Token argmax(NodeId node) override { return law(node).mode(); }
  const Law& law(NodeId node) override {
    const auto it = laws_.find(node);
    if (it == laws_.end())
      fail("the recorded answer says nothing about node {} of the draft: it is off the recorded path or past its end", node);
    return it->second;
  }
  std::span<const float> logits(NodeId) override { fail("a recorded answer has no logits"); }

 private:
  std::unordered_map<NodeId, Law> laws_;
};

class ReplaySession final : public TargetSession {
 public:
  explicit ReplaySession(const Request& request) : answer_(request.reference) {}
  void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) override {
    if (!tokens.empty() && on_chunk) on_chunk({0, tokens, nullptr});
    length_ = static_cast<int>(tokens.size());
  }
  void keep(std::span<const NodeId> accepted) override {
    length_ += 1 + static_cast<int>(accepted.size());
    emitted_ += accepted.size() + 1;
  }
  int length() const override { return length_; }
  int room() const override { return std::numeric_limits<int>::max(); }
  // The recording says what follows a token up to its last one: the draft must stop before that.
  int positions_left() const override { return static_cast<int>(ahead().size()); }
  TokenSpan ahead() const { return TokenSpan(answer_).subspan(std::min(emitted_, answer_.size())); }

 private:
  Tokens answer_;
  std::size_t emitted_ = 0;
  int length_ = 0;
};

class ReplayTarget final : public Target {
 public:
  explicit ReplayTarget(int vocab) : vocab_(vocab) {}
  int vocab() const override { return vocab_; }

  std::unique_ptr<TargetSession> open(const Request& request, int, const HiddenRequest& wants) override {
    if (request.reference.empty()) fail("request {}: there is no recorded answer to replay", request.id);
    for (const TokenSpan tokens : {TokenSpan(request.prompt), TokenSpan(request.reference)})
      for (const Token token : tokens)
        if (token < 0 || token >= vocab_) fail("request {}: token {} is outside the vocabulary of {} tokens", request.id, token, vocab_);
    if (!wants.empty()) fail("request {}: the drafter needs the target's hidden states; a recorded answer has none", request.id);
    return std::make_unique<ReplaySession>(request);
  }

  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<std::unique_ptr<Scores>> out;
    for (const ScoreRequest& r : batch)
      out.push_back(std::make_unique<ReplayScores>(r.draft, static_cast<ReplaySession&>(r.session).ahead(), vocab_));
    return out;
  }

  std::optional<std::string> refuses(std::string_view needs_logits, const SamplingOptions& sampling) const override {
    if (!sampling.greedy())
      return fmt::format("temperature {}: a recorded greedy answer can be replayed at temperature 0 only", sampling.temperature);
    if (sampling.repetition_penalty != 1.0 || sampling.presence_penalty != 0.0 || !sampling.logit_bias.empty())
      return "penalties and logit bias change what the target would have said: a recorded answer cannot follow them";
    if (!needs_logits.empty())
      return fmt::format("{} needs the target's probabilities; a recorded answer has only its tokens", needs_logits);
    return std::nullopt;
  }

 private:
  int vocab_;
};

}  // namespace

std::unique_ptr<Target> make_replay_target(int vocab) { return std::make_unique<ReplayTarget>(vocab); }

}  // namespace foretell
