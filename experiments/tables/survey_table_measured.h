// Where a table's measured numbers come from: the folders that `foretell run` left.
//
// Contract: a cell counts if the study as it stands now has it (its hash is the folder's name) and its summary is
// complete; so a run with other settings, or a study that was changed since, is not taken for the one that the table
// names. What is absent has a reason in words. A file that is no run's is an Error with its name. Whether a number was
// measured or given follows from the cell's pipeline and from what the run has written of it.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/results/record.h"
#include "experiments/study/study.h"
#include "experiments/tables/survey_table.h"

namespace foretell::tables {

// How a number of a table is counted; docs/guide/tables.md says which publications count so.
//   mean_acceptance_length              tokens / rounds, the target's own token included, all rounds of all prompts
//   pooled mean_acceptance_length_per_request  the same of each request, then the mean accepted_per_round drafted
//   tokens that were accepted / rounds: without the target's own token draft_acceptance_rate               accepted /
//   drafted speedup                             (tokens / wall time of all) over the baseline's, prefill included
//   decode_speedup                      without the prefill
//   speedup_mean_of_questions           mean over questions of tokens / wall time, over the baseline's mean; the mean
//   of that over repeats
const std::vector<std::string>& measure_names();

// speedup_mean_of_questions of the records of one cell. A question is a conversation, its turns summed. nullopt without
// pairs of both arms. With its interval over questions: the same bootstrap as any other speed-up's, of rates in place
// of tokens.
struct QuestionSpeedup {
  double value = 0;
  std::optional<metrics::Interval> interval = {};
  int samples = 0;  // questions, or batches of them
};
std::optional<QuestionSpeedup> speedup_mean_of_questions(std::span<const results::GenerationRecord> records,
                                                         const std::string& task);

struct MeasuredNumber {
  std::optional<double> value = {};
  std::optional<metrics::Interval> interval = {};  // of a speed-up, over prompts
  std::string missing = {};                        // why there is none
  std::string given = {};               // which parts of the pipeline were given what it shows: "drafter 'oracle'"
  std::string doubt = {}, unsure = {};  // of a speed-up: as in ComparedCell
};

class MeasuredStudies {
 public:
  MeasuredStudies(const SurveyTable& table, std::filesystem::path results);

  // An Error if the study has no such cell, or the cell no such task.
  MeasuredNumber find(const TableRow& row, const TableColumn& column) const;
  // Files of the studies of which a cell that the table names has not been run.
  std::vector<std::filesystem::path> to_run() const;

 private:
  struct Source {
    std::optional<study::Study> study = {};
    std::string unreadable = {};  // why there is none: data that is not here
  };
  const study::Cell& cell_of(const Source& source, const TableStudy& study, const ConfigValue& settings) const;
  const std::string& damage_of(const std::filesystem::path& folder) const;

  const SurveyTable& table_;
  std::filesystem::path results_;
  std::map<std::string, Source> sources_;
  mutable std::map<std::filesystem::path, std::string> damage_;  // by cell; empty where its records are whole
};

}  // namespace foretell::tables
