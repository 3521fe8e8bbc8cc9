// Every operator of a forward pass, from a model's config alone: what it computes, and what it moves between memory and
// cores.
//
// Contract: pure arithmetic; every architecture that formats::ModelConfig describes. Of a forward pass over `rows` new
// tokens in each of `batch` sequences, behind `context` cached ones:
//   - A token attends to itself and to those before it that its layer's window still has; tokens of a draft tree attend
//     to the context and to their ancestors. Keys and values are read once for all query heads that share them, and
//     with fused attention once for each block of queries that fits the chip.
//   - Weights are read once whatever the rows; of experts those that rows are expected to touch (model_costs.h).
//   - Latent attention (MLA) caches the latent row of a token. Keys and values of the heads are either made from it for
//     the whole context, or the products with them are moved into the queries and the output ("absorbed"), whichever
//     takes fewer operations. With `expanded_cache` the cache holds keys and values of every head, as Foretell runs it.
//   - Matrices of 8 bits have a 16-bit scale for each output, those of 4 bits for each group of 128 inputs (GPTQ, AWQ),
//     and each weight takes two operations more (conversion, scale) unless it is multiplied as it is. The embedding,
//     the head, the router and norms keep 16 bits, or the 32 of the weights.
//   - Operations of an elementwise step are those of its formula; an exponential counts as one. Sampling, and the
//   gather
//     and scatter of rows for experts, are left out.
#pragma once

#include <optional>
#include <vector>

#include "framework/cost/operators/operator_cost.h"
#include "framework/formats/model_config.h"

namespace foretell::cost::operators {

struct ForwardShape {
  double batch = 1;    // sequences
  double context = 0;  // cached tokens of each
  double rows = 1;     // new tokens of each
  // Nodes of a draft tree by depth, the last committed token at depth 0: 1, 4, 8 has 13 rows. Empty: a chain of `rows`.
  std::vector<double> tree = {};
  double logit_rows = 1;  // of each sequence
  bool fused = false;     // attention as one kernel that keeps scores on the chip (FlashAttention)
  bool expanded_cache = false;
  std::optional<int> layers = {};  // the first ones only, with the head behind them (early exit)
  int first_layer = 0;             // those before it were passed already, and so was the embedding

  double row_count() const;
};

ForwardOperators forward_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                   const Precision& precision, const ForwardShape& shape);

// What drafts beside a model, with the model's own sizes. Of EAGLE (Li et al. 2024, arXiv 2401.15077) and of
// multi-token prediction (DeepSeek-AI 2024, arXiv 2412.19437): one pass of the drafting layer and the head.
ForwardOperators drafting_layer_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                          const Precision& precision, const ForwardShape& shape);
// Of Medusa (Cai et al. 2024, arXiv 2401.10774): so many heads on the last hidden state of each sequence.
ForwardOperators medusa_operators(const formats::ModelConfig& config, const Hardware& hardware,
                                  const Precision& precision, double batch, int heads);

// [s] of a prompt and so many generated tokens in each sequence, of which the prefill gives the first.
double generation_seconds(const formats::ModelConfig& config, const Hardware& hardware, const Precision& precision,
                          int prompt, int output, const ForwardShape& shape);

// Bytes of a matrix with so many bits a weight, scales included.
double matrix_bytes(double inputs, double outputs, int bits);
// Operations that turn its weights into numbers to multiply with, once in a forward pass.
double conversion_operations(double weights, const Precision& precision);
// Bits of what quantisation leaves alone: the embedding, the head, norms.
int wide_bits(const Precision& precision);
// Numbers in all parameters, of all experts; `active`: of those that a token is multiplied with.
double parameters_of(const formats::ModelConfig& config, bool active);

}  // namespace foretell::cost::operators
