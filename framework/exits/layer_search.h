// Which sublayers a draft can do without: a search over sets of a fixed size.
//
// Contract: a set leaves out floor(2 (L - 2) ratio) sublayers, attention and MLP alike, none of the first and the last
// layer (SWIFT, Xia et al. 2024, arXiv 2410.06916). next() proposes one, tell() says how good it was, best() is the
// best so far, evenly spread before anything was told. Random sets; every so often the one that a Gaussian process over
// the sets told so far promises most of (Bayesian optimisation: Draft & Verify, Zhang et al. 2023, arXiv 2309.08168);
// or sets that differ from the best in few places (evolution). A function of the seed and of what was told. No
// LibTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/core/rng.h"
#include "framework/exits/layer_sets.h"

namespace foretell::exits {

struct LayerSearchOptions {
  double ratio = 0.45;
  int model_every = 25;    // every so many proposals are the Gaussian process's; 0: none
  bool evolution = false;  // the others are changes of the best set instead of random ones
  int patience = 300;      // ends after more proposals than that without a better one
  int most = 1000;         // ends after more proposals than that
  double enough = 0.95;    // ends once a score is above
  std::uint64_t seed = 1;
};

class LayerSearch {
 public:
  // A model of so many layers, at least three; else nothing can be left out and the search is finished.
  LayerSearch(int num_layers, LayerSearchOptions options);

  bool finished() const;
  SkippedSublayers next();
  // How good the set was that next() proposed last, between 0 and 1.
  void tell(double score);

  SkippedSublayers best() const { return set_of(best_); }
  double best_score() const { return best_score_; }
  int proposals() const { return proposals_; }

 private:
  using Point = std::vector<char>;  // by sublayer of the inner layers: whether it is left out

  SkippedSublayers set_of(const Point& point) const;
  Point evenly(int sublayers) const;
  Point random_point();
  Point neighbour(const Point& of, int changes);
  Point modelled();

  int size_;
  LayerSearchOptions options_;
  PhiloxRng rng_;
  Point best_, asked_;
  double best_score_ = 0;
  int proposals_ = 0, since_better_ = 0;
  struct Told {
    Point point;
    double score;
  };
  std::vector<Told> told_;  // the newest ones
};

// Mean and deviation that a Gaussian process (squared exponential over Hamming distance, noise 0.01 as in Draft &
// Verify's code) expects of a new point, given points and scores. Scores are centred first.
struct Expected {
  double mean, deviation;
};
std::vector<Expected> gaussian_process(const std::vector<std::vector<char>>& points, const std::vector<double>& scores,
                                       const std::vector<std::vector<char>>& asked);

}  // namespace foretell::exits
