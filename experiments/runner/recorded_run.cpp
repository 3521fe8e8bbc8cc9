#include "experiments/runner/recorded_run.h"

#include <limits>
#include <map>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::runner {
namespace {

// A recorded round, in the place of what a target says.
class RecordedScores final : public Scores {
 public:
  RecordedScores(TokenSpan ahead, const RoundRecord& round) : ahead_(ahead), round_(round) {}
  Token argmax(NodeId) override { refuse(); }
  const Distribution& distribution(NodeId) override { refuse(); }
  std::span<const float> logits(NodeId) override { refuse(); }

  Verdict verdict(const DraftTree& draft) const {
    Verdict out{.next = 0, .kind = round_.kind};
    NodeId at = kAnchor;
    for (int i = 0; i < round_.accepted; ++i) {
      const auto child = draft.child(at, ahead_[static_cast<std::size_t>(i)]);
      if (!child)
        fail(
            "the record says that a draft of {} was accepted, and told once more the drafter proposes another: it "
            "depends on "
            "something besides its prompts and rounds, so the cell cannot be resumed; --fresh runs it from its start",
            counted(round_.accepted, "token"));
      out.accepted.push_back(at = *child);
    }
    if (round_.emitted > round_.accepted) out.next = ahead_[static_cast<std::size_t>(round_.accepted)];
    return out;
  }

 private:
  [[noreturn]] static void refuse() { fail("a recorded round has no probabilities"); }

  TokenSpan ahead_;
  const RoundRecord& round_;
};

class RecordedSession final : public TargetSession {
 public:
  RecordedSession(const results::GenerationRecord& record, int context) : record_(record), context_(context) {}
  void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) override {
    if (!tokens.empty() && on_chunk) on_chunk({0, tokens, nullptr});
    length_ = static_cast<int>(tokens.size());
  }
  void keep(std::span<const NodeId> accepted) override {
    length_ += 1 + static_cast<int>(accepted.size());
    emitted_ += static_cast<std::size_t>(record_.rounds[round_++].emitted);
  }
  int length() const override { return length_; }
  int room() const override { return std::numeric_limits<int>::max(); }
  int positions_left() const override { return context_ - length_; }

  std::unique_ptr<Scores> scores() const {
    FORETELL_CHECK(round_ < record_.rounds.size(), "prompt {}: {} rounds are recorded", record_.conversation,
                   record_.rounds.size());
    return std::make_unique<RecordedScores>(TokenSpan(record_.tokens).subspan(emitted_), record_.rounds[round_]);
  }

 private:
  const results::GenerationRecord& record_;
  std::size_t emitted_ = 0, round_ = 0;
  int context_, length_ = 0;
};

class RecordedTarget final : public Target {
 public:
  RecordedTarget(int vocab, int context, std::map<std::uint64_t, const results::GenerationRecord*> records)
      : vocab_(vocab), context_(context), records_(std::move(records)) {}
  int vocab() const override { return vocab_; }
  std::unique_ptr<TargetSession> open(const Request& request, int, const HiddenStateRequest&) override {
    return std::make_unique<RecordedSession>(*records_.at(request.id), context_);
  }
  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<std::unique_ptr<Scores>> out;
    out.reserve(batch.size());
    for (const ScoreRequest& r : batch) out.push_back(static_cast<RecordedSession&>(r.session).scores());
    return out;
  }

 private:
  int vocab_, context_;
  std::map<std::uint64_t, const results::GenerationRecord*> records_;
};

// Policies hear of the recorded rounds.
class RecordedClock final : public decoding::StepClock {
 public:
  explicit RecordedClock(const std::map<std::uint64_t, const results::GenerationRecord*>& records)
      : records_(records) {}
  void set_times(std::span<const Round> rounds, std::span<RoundRecord> records) const override {
    for (std::size_t i = 0; i < rounds.size(); ++i) {
      const auto& [request, index] = rounds[i];
      const results::GenerationRecord& recorded = *records_.at(request.id);
      FORETELL_CHECK(index < static_cast<int>(recorded.rounds.size()), "prompt {}: {} rounds are recorded",
                     recorded.conversation, recorded.rounds.size());
      records[i] = recorded.rounds[static_cast<std::size_t>(index)];
    }
  }

 private:
  const std::map<std::uint64_t, const results::GenerationRecord*>& records_;
};

class RecordedVerifier final : public Verifier {
 public:
  Verdict verify(const DraftTree& draft, Scores& scores, Rng&) const override {
    return static_cast<RecordedScores&>(scores).verdict(draft);
  }
};

}  // namespace

void retell(Target& target, std::optional<int> context, const decoding::Pipeline& pipeline,
            std::span<const RecordedRequest> batch) {
  std::map<std::uint64_t, const results::GenerationRecord*> records;
  std::vector<Request> requests;
  for (const RecordedRequest& r : batch) {
    records[r.request.id] = r.record;
    requests.push_back(r.request);
  }
  decoding::DecoderOptions options{.max_batch = static_cast<int>(batch.size())};
  const RecordedClock clock(records);
  options.clock = &clock;
  if (!context || pipeline.drafter.traits().needs_logits || !pipeline.drafter.required_hidden_states().empty()) {
    decoding::Decoder(target, pipeline, std::move(options)).run(requests);
    return;
  }
  RecordedTarget recorded(target.vocab(), *context, records);
  const RecordedVerifier verifier;
  decoding::Decoder(recorded, {pipeline.drafter, verifier, pipeline.policy}, std::move(options)).run(requests);
}

}  // namespace foretell::runner
