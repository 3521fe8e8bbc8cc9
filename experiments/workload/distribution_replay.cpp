#include "experiments/workload/distribution_replay.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/content_hash.h"

namespace foretell::workload {
namespace {

// The recorded file that a path stands for.
std::filesystem::path distributions_file(const std::filesystem::path& path, const Location& where) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return path;
  if (auto own = results::distributions_in(path)) return *std::move(own);
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored))
    if (auto own = results::distributions_in(entry.path())) found.push_back(*std::move(own));
  if (found.empty())
    fail_at(where, "probs: {} holds no {}; `foretell run STUDY --record probs` writes it", path.string(),
            results::kDistributionsFile);
  if (found.size() > 1)
    fail_at(where, "probs: {} holds {}; name one of them, such as {}", path.string(),
            counted(found.size(), "recorded cell"),
            std::min_element(found.begin(), found.end())->parent_path().string());
  return found.front();
}

// Ends an answer where the recorded one ended by a stop string, which needs no text here.
class EndOfRecording final : public StopWatcher {
 public:
  explicit EndOfRecording(int tokens) : left_(tokens) {}
  bool push(Token) override { return --left_ == 0; }

 private:
  int left_;
};

}  // namespace

void RecordedWorkloadOptions::declare(Parameters& p) {
  p.add("limit", limit, "maximum number of conversations, from the first one on; 0: all", {.min = 0});
  p.add("max_new_tokens", max_new_tokens, "of each answer; without it as recorded",
        {.min = 1, .aliases = {"max_tokens", "output_len"}});
}

DistributionReplay::DistributionReplay(const std::filesystem::path& file_or_folder, const Location& where)
    : record_(results::DistributionRecord::load(distributions_file(file_or_folder, where))),
      rest_(record_.rest()),
      max_new_tokens_(record_.header.max_new_tokens) {
  for (std::size_t i = 0; i < record_.answers.size(); ++i)
    places_[{record_.answers[i].conversation, record_.answers[i].turn}] = i;
}

Workload DistributionReplay::workload(const ConfigValue& description) {
  const ConfigValue* type = description.find("type");
  if (!type || read_text(*type, "type") != "recorded")
    fail_at(type ? type->where() : description.where(),
            "a replay of distributions brings its own prompts: expected workload: {{type: recorded}}");
  RecordedWorkloadOptions options;
  Parameters::read(description, "workload 'recorded'", options, {"type"});
  max_new_tokens_ = std::min(max_new_tokens_, options.max_new_tokens.value_or(max_new_tokens_));
  Workload out;
  out.type = "recorded";
  out.max_new_tokens = max_new_tokens_;
  for (const results::AnswerDistributions& answer : record_.answers) {
    if (answer.turn == 0) {
      if (options.limit > 0 && static_cast<int>(out.conversations.size()) == options.limit) break;
      out.conversations.push_back({answer.conversation, answer.category, answer.task, {}});
      if (std::find(out.tasks.begin(), out.tasks.end(), answer.task) == out.tasks.end())
        out.tasks.push_back(answer.task);
    }
    out.conversations.back().turns.push_back({.ids = answer.prompt});
  }
  return out;
}

void DistributionReplay::complete(const Conversation& conversation, int turn, Request& request) const {
  const results::AnswerDistributions& answer = record_.answers[places_.at({conversation.id, turn})];
  const int recorded = answer.distributions->size(), kept = std::min(recorded, max_new_tokens_);
  const auto distributions = kept == recorded
                                 ? answer.distributions
                                 : std::make_shared<replay::RecordedDistributions>(answer.distributions->first(kept));
  request.data = distributions;
  request.reference.assign(distributions->answer().begin(), distributions->answer().end());
  request.stop_tokens = record_.header.stop_tokens;
  // An answer that ended by itself had room for drafts beyond its end; one that was cut had none.
  const bool cut = kept < recorded || answer.finish == "length";
  request.max_new_tokens = cut ? kept : max_new_tokens_;
  if (answer.finish == "stop_string" && !cut) request.stop_watcher = std::make_shared<EndOfRecording>(kept);
}

std::string DistributionReplay::words() const {
  return fmt::format("{}: distributions of {}, {} of each; {}.", record_.name, counted(rest_.tokens, "token"),
                     counted(record_.header.top_k, "token"), rest_.words());
}

void ReplayClock::drafts_with(const std::filesystem::path& model) {
  drafts_ = true;
  known_ = known_ && measured(model);
}

bool ReplayClock::measured(const std::filesystem::path& draft) const {
  return costs_ && !costs_->draft_points().empty() && io::is_folder_hash(draft_hash_, draft);
}

std::shared_ptr<const cost::RowCosts> ReplayClock::costs(const std::filesystem::path& draft) const {
  if (costs_ && !draft.empty() && !measured(draft))
    fail_at(where_, "the record has no costs of the draft model {}: record with it as model.draft, or set cost: flat",
            draft.string());
  return costs_;
}

std::optional<PhaseTimes> ReplayClock::times(std::span<const RoundRecord> records) const {
  if (!costs_ || !known_) return std::nullopt;
  double rows = 0, draft = 0;
  for (const RoundRecord& record : records) rows += record.scored;
  for (int level = 1; drafts_; ++level) {
    // A level of a tree has its even share of the nodes.
    double width = 0;
    for (const RoundRecord& record : records)
      if (record.depth >= level) width += static_cast<double>(record.drafted) / record.depth;
    if (width == 0) break;
    draft += costs_->draft(width);
  }
  const auto share = static_cast<double>(records.size());
  return PhaseTimes{.draft = static_cast<std::int64_t>(draft / share),
                    .score = static_cast<std::int64_t>(costs_->target(rows) / share)};
}

void ReplayClock::set_times(std::span<const Round>, std::span<RoundRecord> records) const {
  const auto ns = times(records);
  if (!ns) return;
  for (RoundRecord& record : records) record.ns = *ns;
}

std::optional<double> ReplayClock::speedup(std::span<const results::GenerationRecord> records) const {
  if (!costs_ || !known_) return std::nullopt;
  double tokens = 0, ns = 0;
  for (const results::GenerationRecord& record : records) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    for (const RoundRecord& round : record.rounds) {
      tokens += round.emitted;
      ns += static_cast<double>(round.ns.total());
    }
  }
  if (ns <= 0) return std::nullopt;
  return tokens * costs_->target(1) / ns;
}

}  // namespace foretell::workload
