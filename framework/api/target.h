// What the loop decodes: a model, an answer that is known, or a table in a test.
//
// Contract: between rounds a session's cache holds the committed tokens but the anchor. score() runs one forward over
// anchor and draft for every sequence given; keep() then ends the round: the anchor and the accepted path stay, all
// else goes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/api/request.h"
#include "framework/api/scores.h"
#include "framework/core/types.h"

namespace foretell {

class TargetSession {
 public:
  virtual ~TargetSession() = default;
  // Takes in prompt tokens in chunks; the caller leaves out the last one. on_chunk may be empty.
  virtual void prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) = 0;
  virtual void keep(std::span<const NodeId> accepted) = 0;
  virtual int length() const = 0;          // committed tokens held
  virtual int room() const = 0;            // rows that can still be scored
  virtual int positions_left() const = 0;  // rows that can still follow in a line: the context's end
  virtual decoding::TargetView* view() { return nullptr; }
  // Makes the draws of drafts that a verifier of this rule judges; none: they come from the draft's distributions.
  virtual DrawSource* draws(AcceptanceRule) { return nullptr; }
};

// What a target has to go with.
struct PipelineTraits {
  DraftForm form = {};
  DrafterTraits drafter = {};
  bool verifier_needs_logits = false;
  AcceptanceRule acceptance = AcceptanceRule::Other;
};

struct ScoreRequest {
  TargetSession& session;
  const DraftTree& draft;
  const Sampler& sampler;
  SamplingContext context;  // path is filled in by node
};

class Target {
 public:
  virtual ~Target() = default;
  virtual int vocab() const = 0;
  // An Error if the request cannot be served: prompt longer than the context, token out of range, sampling that
  // this target does not know. `rows` is the most that a round will score, `wants` what the drafter asked for.
  virtual std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenStateRequest& wants) = 0;
  virtual std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) = 0;
  // Why a pipeline or sampling cannot be used with this target; none if it can.
  virtual std::optional<std::string> unsupported_reason(const PipelineTraits&, const SamplingOptions&) const {
    return std::nullopt;
  }
};

}  // namespace foretell
