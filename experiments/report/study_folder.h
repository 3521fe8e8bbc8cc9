// A study's folder as reports read it: nothing but the files that a run has left, and never a model.
//
// Contract: study.json gives the cells and their order. A cell without a summary is incomplete if a run has begun it
// and missing otherwise; numbers that are absent or null are absent and never 0, so folders of older and newer versions
// are read alike. What is there and cannot be used (no JSON, a text where a number belongs, a hash that is none) is one
// line with the file and the key (experiments/results/result_files.h): of study.json an Error, of a cell's files its
// damage, as are numbers that its records do not give (summary_check.h). Cells of other weights are an Error
// (provenance.h). What an older version called faster or slower and this one would not judge (too few prompts, no
// interval) has no verdict.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/results/record_reader.h"
#include "experiments/results/result_files.h"
#include "experiments/study/pipeline.h"

namespace foretell::report {

enum class CellState { Complete, Incomplete, Missing, Damaged };
const char* name_of(CellState state);

using Facts = std::vector<std::pair<std::string, std::string>>;  // what -> its value, in an order for people

// Rounds whose draft was so many tokens deep: entry j accepted exactly j of them.
struct DepthCounts {
  int depth = 0;
  std::vector<double> rounds = {};
};

// An answer that is not the baseline's, as the run has judged it.
struct ReportDifference {
  std::string task = {}, words = {};
  bool tie = false;
};

// What the experts of one layer got, and the table of how many were touched by how many rows.
struct LayerNumbers {
  int layer = 0;
  std::vector<std::pair<std::string, std::optional<double>>> values = {};  // by heading
  std::vector<double> load = {};                                           // by expert, rows
};
struct TouchedNumbers {
  double rows = 0, rounds = 0, touched = 0, uniform = 0;
};

struct TaskNumbers {
  std::string task = {};
  std::vector<std::optional<double>> values = {};  // one for each of task_measures()
  std::string verdict = {}, verdict_words = {};    // empty: not judged
  std::string units = {},
              no_interval = {};  // what the speed-up's interval is over, or why there is none; empty in older folders
  std::vector<double> acceptance_rate_per_position = {}, conditional_acceptance_per_position = {};
  std::vector<DepthCounts> by_depth = {};  // by depth
  std::vector<LayerNumbers> experts = {};  // by layer; empty where the target has no experts
  std::vector<TouchedNumbers> touched = {};

  const std::optional<double>& at(std::string_view measure) const;
  bool unreliable() const;  // the verdict: its times contradict one another
};

struct ReportCell {
  std::string name = {}, hash = {};
  CellState state = CellState::Missing;
  bool is_baseline = false, timed = true;
  std::string settings_key = {};        // the swept settings as they were written, to tell cells apart
  Facts settings = {};                  // the same, one entry for each value: "pipeline.drafter.type" -> "model"
  std::vector<TaskNumbers> tasks = {};  // "overall" last; empty without a summary
  std::vector<std::optional<double>> values = {};  // one for each of cell_measures()
  std::string reason = {}, energy_source = {};
  std::optional<bool> lossless = {};                              // none in older folders
  std::optional<study::Losslessness> keeps = {};                  // likewise
  std::string target_rules = {};                                  // of scoring; empty: the checkpoint's
  std::optional<std::vector<ReportDifference>> differences = {};  // none where a cell was not examined
  Facts inflated = {};                                            // target, draft -> what it was
  Facts machine = {};  // processor, threads, versions: what must be equal for times to be compared
  Facts models = {};   // the hashes of weights: what must be equal for tokens to be compared
  std::string started = {};
  std::string damage = {};  // of a damaged cell, whose numbers are left out: the first one, with file:line
  std::string given =
      {};  // the parts of the pipeline whose acceptance was fed in: "drafter 'oracle'"; empty: it was measured
  std::string imported =
      {};  // the file of another program that the numbers are from; empty: they were measured by a run

  const TaskNumbers* overall() const;  // nullptr without a summary
};

struct StudyFolder {
  std::filesystem::path folder;
  std::string study = {}, description = {}, file = {};
  std::vector<ReportCell> cells = {};
  std::vector<std::string> notes = {};  // what differs between the cells' machines and programs
};

StudyFolder read_study_folder(const std::filesystem::path& folder);

// One cell, from what its folder holds; nothing for one that was never begun.
struct CellFiles {
  std::optional<results::ResultJson> manifest = {}, summary = {}, prediction = {}, divergence = {};
  std::string damage = {};  // what damage_of() said
};
ReportCell report_cell(const results::IndexedCell& index, const std::optional<CellFiles>& files);

}  // namespace foretell::report
