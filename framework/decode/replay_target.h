// A recorded greedy answer as the target of the loop.
//
// Contract: Request::reference is the answer, with its stop token where the recording ended by itself. The target's law exists on the recorded
// path only and is a point mass there; greedy verification never leaves that path, so a drafter that needs no hidden states meets exactly the
// model that was recorded. Refused: temperature above 0, penalties and bias, verifiers that need more than the argmax, and requests without an
// answer. Times mean nothing here.
#pragma once

#include <memory>

#include "framework/decode/target.h"

namespace foretell {

std::unique_ptr<Target> make_replay_target(int vocab);

}  // namespace foretell
