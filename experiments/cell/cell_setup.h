// Everything that one cell needs, loaded and checked.
//
// Contract: set_up_cell() finds every mistake that can be found before the first prompt: files, pipeline parts,
// vocabularies, whether the parts fit one another and the target. check_cells() does so for a whole study: `foretell
// check` is nothing more, and `foretell run` starts with it, so that no mistake in the last cell is found after hours.
// At most the models of one group of cells are held at once, and of one cell more.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/cell/model_pool.h"
#include "experiments/results/inflated_models.h"
#include "experiments/study/pipeline.h"
#include "experiments/study/study.h"
#include "experiments/util/stops.h"
#include "experiments/workload/dialogue.h"
#include "experiments/workload/distribution_replay.h"
#include "experiments/workload/recording.h"
#include "experiments/workload/workload.h"
#include "framework/api/target.h"

namespace foretell::cell {

struct CellSetup {
  std::filesystem::path target_folder, draft_folder;  // empty: none
  std::filesystem::path drafting_folder;  // of the model that a drafter asked for; empty where no model drafts
  std::shared_ptr<const model::LanguageModel> model;       // none for a recorded answer
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer;  // may be none
  std::unique_ptr<Target> target;
  std::vector<Token> stop_tokens;
  workload::Workload workload;
  std::string chat_template;  // the name of the one that is used
  workload::Dialogue dialogue;
  std::optional<workload::Recording> recording;
  std::shared_ptr<workload::DistributionReplay> distributions;  // of a recorded run
  std::shared_ptr<workload::ReplayClock> clock;                 // its costs of rows, if they are used
  // One object, or, where strategies remember earlier prompts, one for each repeat and one more for the warm-up: a
  // repeat of a prompt must not find what the run before it has learnt from the same prompt.
  std::vector<study::BuiltPipeline> method, baseline;
  std::optional<study::BuiltPipeline> greedy;  // plain decoding, where quality is measured
  bool method_has_state = false, baseline_has_state = false;
  bool baseline_is_plain = false;               // the baseline drafts nothing
  std::shared_ptr<const cost::RowCosts> costs;  // if a strategy asked for them, or an earlier run of the cell had them
  std::map<std::string, std::string> inputs;    // files that were read besides the models, with their hashes

  bool timed() const { return !recording && !distributions; }
  results::InflatedModels inflated() const;
  // What a pipeline decodes: the cell's target, or that under its own rules.
  Target& target_of(const study::BuiltPipeline& pipeline) const { return pipeline.target ? *pipeline.target : *target; }
  // Of the cell's method.
  study::Losslessness lossless(const study::Cell& cell) const;
  // Whether method and baseline have the same output distribution, as far as they claim it.
  bool like_baseline(const study::Cell& cell) const;
};

// Costs: what a strategy that plans with the cost of n rows is given. A check does not run anything, so it does not
// measure either.
enum class Costs { Measured, Assumed };
struct SetupOptions {
  Costs costs = Costs::Measured;
  std::shared_ptr<const cost::RowCosts> known =
      {};  // of an earlier run: these are taken instead, so that a resumed run decides as that one did
};
CellSetup set_up_cell(const study::Cell& cell, const std::filesystem::path& study_folder, ModelPool& pool,
                      const SetupOptions& options = {});

// Whether the cell's requests carry the baseline's answer: only to strategies that say that they are given their
// acceptance.
bool takes_answer(const study::Cell& cell);

struct CheckedCell {
  int conversations = 0;
  study::Losslessness lossless = {};
  std::optional<formats::ModelConfig> target = {}, draft = {};  // of the models that score and that draft, if any
  DraftBudget limits = {};                                      // of the drafter
};
CheckedCell check_cell(const study::Cell& cell, const std::filesystem::path& study_folder, ModelPool& pool);
std::vector<CheckedCell> check_cells(const study::Study& study, ModelPool& pool);

}  // namespace foretell::cell
