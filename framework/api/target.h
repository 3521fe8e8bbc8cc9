// What the loop decodes: a model, a recorded answer, or a table in a test.
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
  // If the output is known before it is drafted, and laws along it.
  virtual GivenDraws* given_draws() { return nullptr; }
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
  // An Error if the request cannot be served: prompt longer than the context, token out of range, temperature on a
  // recorded answer. `rows` is the most that a round will score, `wants` what the drafter asked for.
  virtual std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenRequest& wants) = 0;
  virtual std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) = 0;
  // Whether what will be emitted is known beforehand: a recorded answer.
  virtual bool knows_output() const { return false; }
  // What a round of these sequences took, a share for each, where the clock cannot say it; none: the clock says.
  virtual std::optional<PhaseTimes> times(std::span<const RoundRecord>) const { return std::nullopt; }
  // Why a strategy or sampling cannot be used with this target; none if it can. `needs_logits` names who needs them
  // ("the verifier"), empty: nobody.
  virtual std::optional<std::string> refuses(std::string_view /*needs_logits*/, const SamplingOptions&) const {
    return std::nullopt;
  }
};

}  // namespace foretell
