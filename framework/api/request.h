// What is asked for and what came out.
//
// Contract: plain values. A request's id keys its random numbers: the same id, seed and options give the same tokens
// wherever in a batch it runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/round.h"
#include "framework/core/types.h"
#include "framework/sampling/sampling.h"

namespace foretell::replay {
class RecordedLaws;
}  // namespace foretell::replay

namespace foretell {

// Watches the emitted tokens of one sequence for stop strings; the text side implements it.
class StopWatcher {
 public:
  virtual ~StopWatcher() = default;
  // True if the text up to and including this token ends the answer.
  virtual bool push(Token token) = 0;
};

struct Request {
  std::uint64_t id = 0;
  Tokens prompt = {};  // at least one token
  int max_new_tokens = 128;
  std::vector<Token> stop_tokens = {};  // emitted, then the sequence ends
  std::shared_ptr<StopWatcher> stop_watcher = {};
  SamplingOptions sampling = {};
  std::uint64_t seed = 0;
  Tokens reference = {};  // the answer that a recorded target or an oracle knows; empty: not known
  std::shared_ptr<const replay::RecordedLaws> laws = {};  // the target's along that answer, where they were recorded
  std::string name = {};                                  // what messages call the prompt; may be empty
};

enum class FinishReason { StopToken, StopString, Length, Context };
const char* to_string(FinishReason reason);

struct Generation {
  std::uint64_t request = 0;
  Tokens tokens = {};
  FinishReason finish = FinishReason::Length;
  std::vector<RoundRecord> rounds = {};
  std::int64_t prefill_ns = 0;
};

}  // namespace foretell
