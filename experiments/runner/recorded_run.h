// A finished run of a pipeline, told to its strategies once more.
//
// Contract: strategies that remember earlier prompts (a suffix tree, a bandit) are brought to where a recorded run had
// left them, by the same calls with the same arguments: they plan and draft as they did, and the recorded answer says
// what was accepted. The target is not asked, and policies hear the recorded times. Where a strategy looks at the
// target itself (its logits, hidden states or layers), the prompts are decoded again instead. A draft that cannot have
// led to the recorded round is an Error: then the strategy does not depend on its declared inputs alone.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "experiments/results/record.h"
#include "framework/decoding/decoder.h"

namespace foretell::runner {

struct RecordedRequest {
  Request request;
  const results::GenerationRecord* record;
};

// One batch, as it was run. `context` is the target's; none for a target that costs nothing: it is asked again, as
// where the drafter needs it.
void retell(Target& target, std::optional<int> context, const decoding::Pipeline& pipeline,
            std::span<const RecordedRequest> batch);

}  // namespace foretell::runner
