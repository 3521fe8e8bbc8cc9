#include "framework/decoding/warped_scores.h"

namespace foretell::decoding {

std::vector<float> WarpedScores::adjusted(NodeId node) {
  const auto row = raw_row(node);
  std::vector<float> logits(row.begin(), row.end());
  const Tokens path = draft_.path(node);
  sampler_.adjust(logits, {context_.prompt, context_.generated, path});
  return logits;
}

Token WarpedScores::argmax(NodeId node) {
  if (distributions_[existing(node)] && sampler_.greedy()) return distributions_[node]->mode();
  return sampler_.adjusts() ? argmax_checked(adjusted(node)) : raw_argmax(node);
}

const Distribution& WarpedScores::distribution(NodeId node) {
  std::optional<Distribution>& distribution = distributions_[existing(node)];
  if (distribution) return *distribution;
  if (sampler_.greedy())
    distribution = Distribution::point_mass(vocab(), argmax(node));
  else if (sampler_.adjusts())
    distribution = sampler_.distribution(adjusted(node));
  else
    distribution = sampler_.distribution(raw_row(node));
  return *distribution;
}

}  // namespace foretell::decoding
