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
#include "framework/decoding/decoder.h"

namespace foretell::study {

struct BuiltPipeline {
  std::unique_ptr<Drafter> drafter;
  std::unique_ptr<Verifier> verifier;
  std::unique_ptr<DraftPolicy> policy;

  decoding::Pipeline view() const { return {*drafter, *verifier, *policy}; }
};

// Whether the verifier is registered as lossy; false for one that does not exist, which is an Error when it is built.
bool is_lossy(const PipelineSection& section);
// Whether any of its strategies, or one that they are made of, remembers earlier prompts of the run.
bool has_state(const PipelineSection& section);
// Its strategies whose acceptance was fed in (StrategyInfo::given_acceptance), those that others are made of included:
// {"drafter 'oracle'"}. Empty: what is accepted was measured.
std::vector<std::string> given_acceptance(const PipelineSection& section);
// Whether the drafter is `none`.
bool drafts_nothing(const PipelineSection& section);

// `context` without its tree, which comes from the section.
BuiltPipeline build_pipeline(const PipelineSection& section, BuildContext context);

}  // namespace foretell::study
