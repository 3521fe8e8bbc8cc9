// A drafter that uses the target's own layers: LayerSkip at a fixed layer, or with single sublayers left out, in all
// the ways in which rows can be named, unnamed, mixed with new ones and watched.
#pragma once

#include "framework/api/drafter.h"
#include "framework/model/language_model.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

// Exits after `layers` layers, or skips single sublayers, and drafts `length` tokens greedily from what the head says
// there; the rows of all sequences go through one forward a level. `spread`: the sequence in slot s exits s layers
// later, as far as there are any, and `deepening`: each row of a draft goes one layer deeper. `extra` adds a sibling to
// every node that was not forwarded early, so that a draft mixes finished and new rows; `unnamed` forwards a row that
// the draft leaves out.
struct SelfDraftOptions {
  int layers = 2;
  int length = 4;
  bool skip_middle = false;
  bool spread = false;
  bool deepening = false;
  bool extra = false;
  bool unnamed = false;
  HiddenStateRequest wants = {};
  bool tokens_in_taps = true;  // the toy's states carry the row's token, so the order of the rows can be checked
};

// `model` is the target's.
std::unique_ptr<Drafter> make_self_drafter(std::shared_ptr<const LanguageModel> model, const SelfDraftOptions& options);

}  // namespace foretell::testing
