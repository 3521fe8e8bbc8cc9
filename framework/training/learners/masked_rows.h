// A batch for drafts by mask tokens: its rows, and behind them copies whose newest tokens are masks.
//
// Contract: the copy (a, d) stands for row a + d when only the tokens up to a are known: a mask at position a + d,
// which sees rows up to a and the masks (a, 1) to (a, d), and is to say what row a + d says. Depth d has copies of some
// of the anchors of depth d - 1, fewer with each depth (conditional drop, An et al. 2025, arXiv 2504.18583); only where
// row a + d has a loss, unless all are asked for. Which ones is a function of the batch. A sequence's rows lie one
// behind the other, the given ones first.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/core/types.h"
#include "framework/training/autograd/trainable.h"

namespace foretell::training::learners {

struct ConditionalDrop {
  int depths = 8;     // the given rows are depth 0
  double keep = 0.7;  // of so many rows with a loss depth d has keep^d, at least `least`
  double least = 0.2;
  bool all = false;  // every copy there is, of rows without a loss, too
};

struct MaskedBatch {
  autograd::TrainBatch rows;  // its loss rows are those whose a + d has a loss; the normaliser is their weight
  at::Tensor anchors;         // int64 [rows]: the row of the batch that is the last one known
  at::Tensor depths;          // int64 [rows]
  at::Tensor predicted;       // int64 [loss rows]: the row of the batch that stands for the same, a + d
};

MaskedBatch with_masks(const autograd::TrainBatch& batch, const ConditionalDrop& drop, Token mask);

// A number that a batch's tokens decide: random choices that a resumed run makes again.
std::uint64_t seed_of(const autograd::TrainBatch& batch);

}  // namespace foretell::training::learners
