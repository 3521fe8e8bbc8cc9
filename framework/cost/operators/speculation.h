// What a step of speculative decoding should cost on a device, and what it gains: forward_operators.h for the drafter
// and for verification, predicted_speedup.h for the rest.
//
// Contract: pure. A draft is a chain or a tree, given as nodes by depth with the last committed token at depth 0. A
// draft model, a drafting layer (EAGLE, multi-token prediction) and an early exit take one forward pass for each depth;
// Medusa's heads all come from one pass; lookup takes no operations. Behind an early exit verification starts from the
// hidden states that drafting has left, and only the deepest nodes pass the first layers as well (LayerSkip: Elhoushi
// et al. 2024, arXiv 2404.16710). Left out: prefills, sampling, tokens that the drafter has not seen after a draft was
// accepted whole, and whatever is not a forward pass, which `other_seconds` stands for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/cost/operators/forward_operators.h"
#include "framework/cost/predicted_speedup.h"

namespace foretell::cost::operators {

struct DraftSource {
  enum class Kind { Lookup, Model, Exit, Layer, Medusa };
  Kind kind = Kind::Lookup;
  std::optional<formats::ModelConfig> model = {};  // Model
  int exit_layer = 0;                              // Exit
  int heads = 0;                                   // Medusa; no deeper draft can be had
  double other_seconds = 0;                        // of a step, besides
};

struct SpeculationCase {
  Precision precision = {};
  double batch = 1, context = 1024;
  bool fused = false, expanded_cache = false;
  std::vector<double> levels = {1, 1, 1, 1, 1};  // nodes by depth
};

struct SpeculationCosts {
  double plain = 0, verify = 0, draft = 0, other = 0;  // seconds
  Bound verify_bound = Bound::Memory;                  // of most of its time
  // Of a plain step: what is read of the KV cache, of all bytes that are.
  double cache_fraction = 0;
};

SpeculationCosts speculation_costs(const formats::ModelConfig& target, const Hardware& hardware,
                                   const DraftSource& source, const SpeculationCase& of);

struct Expectation {
  SpeculationCosts costs;
  double tokens = 1;  // of a step
  SpeedupPrediction prediction;
  double speedup() const { return tokens / prediction.round_cost(); }
};

// One acceptance is that of every depth; several are those of depth 1, 2 ... once it is reached, and what is deeper is
// rejected.
Expectation expected_speedup(const formats::ModelConfig& target, const Hardware& hardware, const DraftSource& source,
                             const SpeculationCase& of, const std::vector<double>& acceptance);

// Why it does not gain, in words: "the draft is too expensive: ...", "the batch is too large: ...", "acceptance is too
// low: ..."; empty if it does.
std::string loss_reason(const Expectation& expectation, const SpeculationCase& of);

}  // namespace foretell::cost::operators
