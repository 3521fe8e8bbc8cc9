// A recorded run with its distributions as the target of a study: {type: replay, probs: ...}.
//
// Contract: prompts, answers, stop tokens and limits come from the record, and no model is needed. `distributions`
// names a file, a cell's folder, or a study's folder in which one cell was recorded. The study's workload is {type:
// recorded}. The tokenizer is the one that the study names or the recorded one, where it is still there; another one
// than the recorded is an Error, and without any, answers are shown as ids. What forwards of n rows take is what was
// measured when the run was recorded: policies that plan with costs decide as they would there, and the rounds' times
// are made of them:
//   score: one forward of the target over all rows of the batch
//   draft: one forward of the draft model for each level, where the drafter loads one
// each in equal shares to its sequences. What a draft model takes to read a prompt, verification and the loop itself
// are not counted.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "experiments/results/distribution_record.h"
#include "experiments/results/record.h"
#include "experiments/workload/workload.h"
#include "framework/api/request.h"
#include "framework/api/round.h"
#include "framework/decoding/step_clock.h"

namespace foretell::workload {

struct RecordedWorkloadOptions {
  int limit = 0;
  std::optional<int> max_new_tokens;
  void declare(Parameters& p);
};

class DistributionReplay {
 public:
  // `where` the study names it.
  DistributionReplay(const std::filesystem::path& file_or_folder, const Location& where);

  const results::DistributionHeader& header() const { return record_.header; }
  const std::string& file() const { return record_.name; }
  const results::DistributionRecord::Rest& rest() const { return rest_; }
  // The prompts that the description asks for.
  Workload workload(const ConfigValue& description);
  // Fills in all but id, prompt and sampling.
  void complete(const Conversation& conversation, int turn, Request& request) const;
  // A sentence about what is replayed.
  std::string words() const;

 private:
  results::DistributionRecord record_;
  results::DistributionRecord::Rest rest_;
  std::map<std::pair<std::string, int>, std::size_t> places_;
  int max_new_tokens_;
};

// What rounds take by the recorded costs of rows.
class ReplayClock final : public decoding::StepClock {
 public:
  // An Error, at `where`, when costs are asked for that were not measured.
  ReplayClock(const results::DistributionHeader& header, Location where)
      : costs_(header.costs), draft_hash_(header.draft.hash), where_(std::move(where)) {}

  // A drafter runs this model.
  void drafts_with(const std::filesystem::path& model);
  // For policies and results; as measured where times() has none.
  void set_times(std::span<const Round> rounds, std::span<RoundRecord> records) const override;
  // What a step took, a share for each sequence; none if that model's costs were not recorded.
  std::optional<PhaseTimes> times(std::span<const RoundRecord> records) const;
  // For a policy, in a study with this draft model (empty: none).
  std::shared_ptr<const cost::RowCosts> costs(const std::filesystem::path& draft) const;
  // How much faster than plain decoding the method's rounds are, one sequence at a time, by these times; none without
  // tokens or costs.
  std::optional<double> speedup(std::span<const results::GenerationRecord> records) const;

 private:
  bool measured(const std::filesystem::path& draft) const;

  std::shared_ptr<const cost::RowCosts> costs_;
  std::string draft_hash_;
  Location where_;
  bool drafts_ = false, known_ = true;
};

}  // namespace foretell::workload
