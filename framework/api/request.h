/// @file
/// What is asked for and what came out.
///
/// Contract: plain values. A request's id keys its random numbers: the same id, seed and options give the same tokens
/// wherever in a batch it runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/round.h"
#include "framework/core/types.h"
#include "framework/sampling/sampling.h"

namespace foretell {

/// Watches the emitted tokens of one sequence for stop strings; the text side implements it.
class StopWatcher {
 public:
  virtual ~StopWatcher() = default;
  /// True if the text up to and including this token ends the answer.
  virtual bool push(Token token) = 0;
};

/// What one kind of target keeps with a request for itself: nothing to the loop or to strategies.
class RequestData {
 public:
  virtual ~RequestData() = default;
};

/// One prompt, and how it is to be answered.
struct Request {
  std::uint64_t id = 0;                            ///< keys its random numbers
  Tokens prompt = {};                              ///< at least one token
  int max_new_tokens = 128;                        ///< at least 1
  std::vector<Token> stop_tokens = {};             ///< emitted, then the sequence ends
  std::shared_ptr<StopWatcher> stop_watcher = {};  ///< none: no stop strings
  SamplingOptions sampling = {};                   ///< of the target
  std::uint64_t seed = 0;                          ///< of the run
  Tokens reference = {};                           ///< the answer, where it is known; empty: it is not
  std::shared_ptr<const RequestData> data = {};    ///< the target's own
  std::string name = {};                           ///< what messages call the prompt; may be empty
};

/// Why an answer ended: a stop token, a stop string, max_new_tokens, or the end of the context.
enum class FinishReason { StopToken, StopString, Length, Context };
/// "stop_token", "stop_string", "length", "context"
const char* to_string(FinishReason reason);

/// An answer with its records.
struct Generation {
  std::uint64_t request = 0;                   ///< Request::id
  Tokens tokens = {};                          ///< emitted
  FinishReason finish = FinishReason::Length;  ///< why it ended
  std::vector<RoundRecord> rounds = {};        ///< in their order
  std::int64_t prefill_ns = 0;                 ///< wall clock
};

}  // namespace foretell
