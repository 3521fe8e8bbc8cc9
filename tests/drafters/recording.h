// What a drafter drafted, and behind which text: for tests that compute a draft again.
#pragma once

#include <memory>
#include <vector>

#include "experiments/certify/toy_pipeline.h"
#include "framework/model/hidden.h"
#include "framework/model/language_model.h"

namespace foretell::testing {

struct Drafted {
  Tokens committed;
  DraftTree tree;
};

// The same setup, whose drafts go to `out` as well.
certify::Setup recorded(certify::Setup setup, std::vector<Drafted>& out);

// The states of a text that are asked for, in one forward.
model::HiddenStates hidden_of(const LanguageModel& model, TokenSpan text, const HiddenStateRequest& request);
// The final ones.
at::Tensor states_of(const LanguageModel& model, TokenSpan text);

}  // namespace foretell::testing
