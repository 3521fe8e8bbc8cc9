// Which of the target's states belong to committed text.
//
// Contract: a round commits the row of its anchor and those of the accepted nodes but for the last token emitted, which
// is the next anchor: it is scored with the next draft.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/api/drafter.h"

namespace foretell::decoding::heads {

// By nodes of the round's draft; empty where nothing was emitted.
std::vector<std::int64_t> committed_nodes(const RoundView& round);

}  // namespace foretell::decoding::heads
