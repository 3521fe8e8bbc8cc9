// The model's own probabilities at a node, where a verifier needs more than a point mass at temperature 0.
#pragma once

#include "framework/decode/scores.h"

namespace foretell {

// The law at the node; at temperature 0, where that is a point mass, softmax of the raw logits.
Law soft_law(Scores& scores, NodeId node);

}  // namespace foretell
