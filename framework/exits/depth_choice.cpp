#include "framework/exits/depth_choice.h"

#include "framework/core/error.h"

namespace foretell::exits {

DepthChoice::DepthChoice(std::vector<int> layers, int num_layers, double omega, int most)
    : layers_(std::move(layers)), num_layers_(num_layers), omega_(omega), most_(most), right_(layers_.size(), 0) {}

void DepthChoice::add(std::span<const int> right, int rows) {
  FORETELL_CHECK(right.size() == right_.size(), "{} counts of {} layers", right.size(), right_.size());
  for (std::size_t i = 0; i < right_.size(); ++i) right_[i] = omega_ * right_[i] + right[i];
  rows_ = omega_ * rows_ + rows;
}

double DepthChoice::rate(std::size_t candidate) const { return rows_ > 0 ? right_[candidate] / rows_ : 0.5; }

DepthChoice::Best DepthChoice::best() const {
  Best best{layers_.front(), 0};
  double most = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    double tokens = 1;
    for (int j = 0; j <= most_; ++j) {
      if (j > 0) tokens = 1 + rate(i) * tokens;
      // Plain decoding goes through all layers once, whichever layer would draft.
      const int layers = j == 0 ? num_layers_ : (j + 1) * layers_[i] + num_layers_ - layers_[i];
      const double each = tokens / layers;
      if (each <= most) continue;
      most = each;
      best = {layers_[i], j};
    }
  }
  return best;
}

}  // namespace foretell::exits
