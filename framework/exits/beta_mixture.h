// The threshold that FREE (Bae et al. 2023, arXiv 2310.05424) draws out of confidences whose tokens were right or
// wrong.
//
// Contract: pure functions of the observations, in float64. Includes no LibTorch.
#pragma once

#include <span>
#include <vector>

namespace foretell::exits {

struct Beta {
  double alpha = 1, beta = 1;
  double mean() const { return alpha / (alpha + beta); }
  double density(double x) const;  // 0 < x < 1
};

struct Judgement {
  double confidence = 0;
  bool right = false;
};

// By the moments of these confidences, moved into [1e-4, 1 - 1e-4]; `otherwise` where fewer than two differ.
Beta fit_beta(std::span<const double> confidences, Beta otherwise);

// Of ten values from 0.3 to 0.9: as many from the highest down as there are values where the share of the density of
// right tokens is above 0.4. Before anything is fitted right tokens are Beta(2, 1) and wrong ones Beta(1, 2).
double free_threshold(std::span<const Judgement> judgements);

}  // namespace foretell::exits
