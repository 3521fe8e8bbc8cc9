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
  if (laws_[existing(node)] && sampler_.greedy()) return laws_[node]->mode();
  return sampler_.adjusts() ? argmax_checked(adjusted(node)) : raw_argmax(node);
}

const Law& WarpedScores::law(NodeId node) {
  std::optional<Law>& law = laws_[existing(node)];
  if (law) return *law;
  if (sampler_.greedy())
    law = Law::point_mass(vocab(), argmax(node));
  else if (sampler_.adjusts())
    law = sampler_.law(adjusted(node));
  else
    law = sampler_.law(raw_row(node));
  return *law;
}

}  // namespace foretell::decoding
