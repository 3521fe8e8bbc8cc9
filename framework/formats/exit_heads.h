// Trained early-exit heads as safetensors: which tensor is what.
//
//   layers.4.weight  [vocab, hidden]    a head of its own behind layer 4 (Elbayad et al. 2020, arXiv 1910.10073;
//   EE-LLM,
//                                       Chen et al. 2023, arXiv 2312.04916): logits of the final norm of the state
//   layers.4.weight  [hidden, hidden]   a translator (tuned lens, Belrose et al. 2023, arXiv 2303.08112): W state + b
//   is
//                                       added to the state, then come the model's final norm and its own head
//   layers.4.bias    [vocab] or [hidden], as the weight; optional
//   layers.4.up.weight [inner, hidden], layers.4.down.weight [hidden, inner]: an MLP (EE-Tuning, Pan et al. 2024, arXiv
//                    2402.00518): down silu(up norm(state)) is added to the state, with the model's final norm; then
//                    come that norm and a head of its own, or without layers.4.weight the model's
//
// The number counts the layers that a row has behind it, from 1 on, as exit policies do.
//
// Contract: every tensor of the file has its place, else an Error of one line that names file and tensor. A weight
// [vocab, hidden] is a head where vocab and hidden are equal. Torch-free; tensors are views of the file's.
#pragma once

#include <map>
#include <string>

#include "framework/formats/safetensors.h"

namespace foretell::formats {

struct ExitHeadTensors {
  const StoredTensor* weight = nullptr;               // null: an MLP before the model's head
  const StoredTensor* bias = nullptr;                 // null: none
  const StoredTensor *up = nullptr, *down = nullptr;  // both or neither
  bool translator = false;
};

struct ExitHeadShape {
  int num_layers = 0;  // of the model; a head behind its last layer would be none
  std::int64_t hidden = 0, vocab = 0;
};

// By layer. `name` is what messages call the file.
std::map<int, ExitHeadTensors> exit_head_tensors(const StoredTensors& tensors, const ExitHeadShape& shape,
                                                 const std::string& name);

}  // namespace foretell::formats
