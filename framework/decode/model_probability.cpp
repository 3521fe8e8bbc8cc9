#include "framework/decode/model_probability.h"

#include <cmath>
#include <vector>

namespace foretell {

Law soft_law(Scores& scores, NodeId node) {
  const Law& law = scores.law(node);
  if (!law.is_point_mass()) return law;
  const auto logits = scores.logits(node);
  const double top = logits[scores.argmax(node)];
  std::vector<double> weights;
  weights.reserve(logits.size());
  for (const float logit : logits) weights.push_back(std::exp(logit - top));
  return Law::dense(std::move(weights));
}

}  // namespace foretell
