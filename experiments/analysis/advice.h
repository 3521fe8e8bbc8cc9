// Whether a cell's draft can pay on a device, from shapes, the device and the vocabularies alone: what `foretell
// advise` prints, and `foretell check --hardware` in one line.
//
// Contract: nothing is run. Costs, break-even and the words of a loss are predict's
// (framework/cost/operators/speculation.h), the note on a mixture's experts is feasibility.h's. What drafts is read off
// the cell: a draft model, heads or a drafting layer by the drafter's name; whatever needs no model is taken to draft
// for nothing, and so is a draft that shapes say nothing of (`priced` is false): its figures are bounds.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

#include "experiments/cell/cell_setup.h"
#include "framework/cost/operators/speculation.h"

namespace foretell::analysis {

struct AdviceCase {
  std::vector<int> batches = {1, 8, 64}, lengths = {1, 2, 4, 8};
  double context = 1024;
};

struct AdvisedRow {
  int batch = 1, length = 1;
  cost::operators::Expectation full = {};  // if every draft token is accepted; its break-even does not depend on that
};

struct Advice {
  std::string cell;
  std::string mismatch = {};  // why the draft's ids are not the target's; then nothing else is known
  bool drafts = true, priced = true;
  double target_parameters = 0, active_parameters = 0, draft_parameters = 0;  // draft: 0 where no model drafts
  std::optional<double> half_cache_context = {};  // tokens at which the KV cache is half of what a plain step reads
  AdvisedRow own;                                 // of the cell's own batch and draft
  std::vector<AdvisedRow> rows;
  std::string experts = {};  // feasibility_note() of a mixture
};

// Why a draft can hardly pay, by bytes alone; empty where it can, or where that is not known. `ratio`: operations that
// the machine does while it reads a byte.
std::string feasibility_of(const study::Cell& cell, const cell::CheckedCell& checked, std::optional<double> ratio);

Advice advice_of(const study::Cell& cell, const cell::CheckedCell& checked, const cost::operators::Hardware& hardware,
                 const AdviceCase& of);
// Of a draft model whose tokenizer is another one; none where it fits, or where nothing is known.
std::optional<Advice> mismatch_of(const study::Cell& cell, const std::filesystem::path& study_folder,
                                  cell::ModelPool& pool);

// One line: "can pay from an acceptance of 0.41 on (...)".
std::string verdict_of(const Advice& advice);
std::string to_text(const Advice& advice, const AdviceCase& of);
nlohmann::ordered_json to_json(const Advice& advice);

}  // namespace foretell::analysis
