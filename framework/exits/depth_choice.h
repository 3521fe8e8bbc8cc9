// How deep and how long a self-speculative draft should be: the choice of DEL (Zarch et al. 2025, arXiv 2504.05598).
//
// Contract: add() counts, by candidate layer, in how many of some rows its token was the full model's; counts of
// earlier calls are kept for `omega` of theirs. best() is the layer l and the length j, 0 to `most`, with the most
// expected tokens for each layer computed: (1 + a + ... + a^j) / ((j + 1) l + L - l), of equals the first. Before
// anything is counted a rate is 1/2. No LibTorch.
#pragma once

#include <span>
#include <vector>

namespace foretell::exits {

class DepthChoice {
 public:
  DepthChoice(std::vector<int> layers, int num_layers, double omega, int most);

  void add(std::span<const int> right, int rows);
  double rate(std::size_t candidate) const;
  struct Best {
    int layer = 0, tokens = 0;
  };
  Best best() const;

 private:
  std::vector<int> layers_;
  int num_layers_;
  double omega_;
  int most_;
  std::vector<double> right_;
  double rows_ = 0;
};

}  // namespace foretell::exits
