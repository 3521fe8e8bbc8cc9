// A language model as the target of the loop.
//
// Contract: see target.h and target_view.h. The rows of all sequences go through one forward, whatever layer they enter
// at. The cache of a session has room for the context that its request can reach and for one round's draft.
//
// Under rules that are not the checkpoint's, prompts are read as the checkpoint reads them (an attention policy
// watches) and all that is scored is forwarded under the rules.
#pragma once

#include <memory>

#include "framework/api/target.h"
#include "framework/decoding/forward_rules.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {

struct ModelTargetOptions {
  int prefill_chunk = 512;  // rows of one prefill forward
  ForwardRules rules = {};  // of scoring
};

std::unique_ptr<Target> make_model_target(std::shared_ptr<const model::LanguageModel> model,
                                          const ModelTargetOptions& options = {});

}  // namespace foretell::decoding
