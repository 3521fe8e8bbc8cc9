// A pipeline whose target is scored under rules of its own (`pipeline.target`).
//
// Contract: the rules are read for the context's target, so that one that the model lacks is an Error at its place in
// the study. Prompts are read under the checkpoint's rules, whatever is scored under.
#pragma once

#include "experiments/study/pipeline.h"

namespace foretell::cell {

// As study::build_pipeline(), with the target under the section's rules where it has any.
study::BuiltPipeline build_ruled_pipeline(const study::PipelineSection& section, const BuildContext& context);

}  // namespace foretell::cell
