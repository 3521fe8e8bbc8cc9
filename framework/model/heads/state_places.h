// How heads name the target's hidden states that they read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "framework/model/language_model.h"

namespace foretell::model::heads {

// A place: 0 the embeddings, l the state behind layer l, kFinalState the final normed one.
inline constexpr int kFinalState = -1;
// Of a number as Transformers counts hidden_states: 0 the embeddings, the last one normed; from the end where negative.
// An Error, of `name`, where the target has no such state.
int state_place(std::int64_t number, int num_layers, const std::string& name);

// The type and device that the target computes in.
at::TensorOptions target_options(const LanguageModel& target);

}  // namespace foretell::model::heads
