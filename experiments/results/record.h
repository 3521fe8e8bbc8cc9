// What a run writes down: one generation with its rounds.
//
// Contract: everything that is reported later is computed from these records alone. `pipeline` says which of a cell's
// two pipelines made it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/api/round.h"
#include "framework/core/types.h"

namespace foretell::results {

enum class PipelineVariant { Method, Baseline };

// How good an answer is in the target's own eyes (quality.h).
struct AnswerQuality {
  double log_probability = 0;  // of all its tokens, in the target's unwarped distribution
  double greedy_rouge_l = 0;   // [1] against the target's greedy answer to the same prompt
  bool same_as_greedy = false;
};

struct GenerationRecord {
  std::string conversation = {};  // the prompt's id in its workload
  std::string category = {};      // as the workload names it
  std::string task = {};          // what results are grouped by
  int turn = 0;
  int repeat = 0;
  std::optional<int> batch = {};  // that it shared a clock with others in; none for a prompt that was decoded by itself
  PipelineVariant arm = PipelineVariant::Method;
  int prompt_tokens = 0;
  Tokens tokens = {};
  std::string text = {};           // of the tokens, stripped; ids joined by blanks where there is no tokenizer
  std::optional<bool> exact = {};  // the text is the workload's right answer; nothing where it knows none
  std::string finish = {};         // stop_token, stop_string, length, context
  std::int64_t arrival_ns = 0;     // with open-loop arrivals: since the stream began
  std::int64_t prefill_ns = 0;
  // Of the whole request, prefill included; in a batch the batch's time divided by its sequences. With open-loop
  // arrivals: from arrival to end.
  std::int64_t wall_ns = 0;
  std::optional<double> contention =
      {};  // [1] the share of their time that the threads waited for processors, while its batch was decoded
  std::optional<double> joules = {};  // measured; a batch's divided by its sequences
  std::vector<RoundRecord> rounds = {};
  std::vector<std::int64_t> round_ends = {};  // [ns] since the request arrived, one a round: when its tokens were there
  std::optional<AnswerQuality> quality = {};  // of first repeats, where it was measured

  // What has a time of its own: the batch that the record was made in, or its conversation (batch -1).
  std::pair<int, std::string> timed_unit() const {
    return batch ? std::pair(*batch, std::string()) : std::pair(-1, conversation);
  }
};

}  // namespace foretell::results
