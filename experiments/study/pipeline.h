// A pipeline's parts as objects.
//
// Contract: built by name out of the registries; a part that does not exist or does not fit is an Error at its place in
// the study.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/study/study.h"
#include "framework/api/build_context.h"
#include "framework/api/target.h"
#include "framework/decoding/decoder.h"

namespace foretell::study {

struct BuiltPipeline {
  std::unique_ptr<Target> target = {};  // under the section's rules (cell/ruled_pipeline.h); none: the cell's own
  bool row_independent = true;          // what is scored does not depend on the rows that are scored with it
  std::unique_ptr<Drafter> drafter;
  std::unique_ptr<Verifier> verifier;
  std::unique_ptr<DraftPolicy> policy;

  decoding::Pipeline view() const { return {*drafter, *verifier, *policy}; }
};

// Whether the verifier is registered as lossy; false for one that does not exist, which is an Error when it is built.
bool is_lossy(const PipelineSection& section);
// Whether the target is scored under rules that are not the checkpoint's, and whether two pipelines do so alike.
bool has_rules(const PipelineSection& section);
bool same_rules(const PipelineSection& a, const PipelineSection& b);

// Whose distribution the output has, as far as verifier and rules say: that of the target under its rules, and that of
// the checkpoint, which no rule changes.
struct Losslessness {
  bool towards_target = true, towards_checkpoint = true;
  friend bool operator==(const Losslessness&, const Losslessness&) = default;
};
Losslessness losslessness(const PipelineSection& section, bool row_independent = true);
// "lossless towards the target's rules, lossy towards the checkpoint"
std::string in_words(const Losslessness& lossless);

// Whether any of its strategies, or one that they are made of, remembers earlier prompts of the run.
bool has_state(const PipelineSection& section);
// Its strategies whose acceptance was fed in (StrategyInfo::given_acceptance), those that others are made of included:
// {"drafter 'oracle'"}. Empty: what is accepted was measured.
std::vector<std::string> given_acceptance(const PipelineSection& section);
// Whether the drafter is `none`.
bool drafts_nothing(const PipelineSection& section);

// `context` without its tree, which comes from the section. Without the target under its rules: that takes a model.
BuiltPipeline build_pipeline(const PipelineSection& section, BuildContext context);

}  // namespace foretell::study
