// Which experts a row goes through in a mixture of experts, and how much each counts.
//
// Contract: a router is constant and may be shared. The checkpoint's own is the default; another one, given with
// ForwardOptions::router, changes the model's law unless it chooses alike. `row_independent()`: a row's routing depends
// on nothing but that row, so that it is the same alone, in a batch and in a draft tree; a target whose router is not
// cannot be verified losslessly. Routing is computed in float32 or better from logits that do not depend on the rows
// beside them. Torch-free.
#pragma once

#include <span>
#include <vector>

#include "framework/formats/model_config.h"

namespace foretell::model {

// What the rows of one forward bring: the products with the checkpoint's gate.
struct RouterRows {
  int rows = 0;
  std::span<const float> logits;   // [rows, experts]
  std::span<const int> positions;  // in the text, one a row
};

struct RouterContext {
  int layer = 0;  // of the model
  const formats::MoeConfig& moe;
  std::span<const float> selection_bias;  // [experts]; empty if the checkpoint has none
};

struct Routing {
  int per_row = 0;
  std::vector<int> experts;    // [rows, per_row], distinct in a row; -1: none
  std::vector<float> weights;  // [rows, per_row]
};

class Router {
 public:
  virtual ~Router() = default;
  virtual Routing route(const RouterRows& rows, const RouterContext& context) const = 0;
  virtual bool row_independent() const = 0;
};

// The rule of MoeConfig. Of equal scores the lower expert is chosen.
const Router& checkpoint_router();

}  // namespace foretell::model
