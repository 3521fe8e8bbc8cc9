#include "framework/replay/recorded_distributions.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/core/error.h"
#include "framework/sampling/sampling.h"

namespace foretell::replay {

void RecordedDistributions::add(std::span<const float> logits, Token token, int top_k) {
  FORETELL_CHECK(static_cast<int>(logits.size()) == vocab_, "{} logits for {} tokens", logits.size(), vocab_);
  const std::vector<Token> best = highest(logits, top_k);
  const double top = logits[static_cast<std::size_t>(best.front())];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  const double normaliser = top + std::log(sum);
  // Summed over the others and not taken from 1, so that a small rest keeps its digits.
  std::vector<bool> stored(logits.size(), false);
  stored[static_cast<std::size_t>(token)] = true;
  std::vector<float> values;
  for (const Token t : best) {
    stored[static_cast<std::size_t>(t)] = true;
    values.push_back(static_cast<float>(logits[static_cast<std::size_t>(t)] - normaliser));
  }
  double rest = 0;
  for (std::size_t t = 0; t < logits.size(); ++t)
    if (!stored[t]) rest += std::exp(logits[t] - normaliser);
  add({token, static_cast<float>(logits[static_cast<std::size_t>(token)] - normaliser), static_cast<float>(rest), best,
       values});
}

void RecordedDistributions::add(const RecordedDistribution& distribution) {
  FORETELL_CHECK(distribution.tokens.size() == distribution.log_probabilities.size(), "{} tokens, {} values",
                 distribution.tokens.size(), distribution.log_probabilities.size());
  tokens_.push_back(distribution.token);
  log_probabilities_.push_back(distribution.log_probability);
  rest_.push_back(distribution.rest);
  top_.insert(top_.end(), distribution.tokens.begin(), distribution.tokens.end());
  top_log_probabilities_.insert(top_log_probabilities_.end(), distribution.log_probabilities.begin(),
                                distribution.log_probabilities.end());
  ends_.push_back(top_.size());
}

RecordedDistribution RecordedDistributions::operator[](int position) const {
  const auto at = static_cast<std::size_t>(position);
  FORETELL_CHECK(at < tokens_.size(), "position {} of {}", position, tokens_.size());
  const std::size_t begin = at == 0 ? 0 : ends_[at - 1], count = ends_[at] - begin;
  return {tokens_[at], log_probabilities_[at], rest_[at], TokenSpan(top_).subspan(begin, count),
          std::span(top_log_probabilities_).subspan(begin, count)};
}

std::vector<float> RecordedDistributions::row(int position) const {
  const RecordedDistribution distribution = (*this)[position];
  const bool among = std::find(distribution.tokens.begin(), distribution.tokens.end(), distribution.token) !=
                     distribution.tokens.end();
  const auto others = static_cast<double>(vocab_) - static_cast<double>(distribution.tokens.size()) - (among ? 0 : 1);
  const bool shared = distribution.rest > 0 && others > 0;
  std::vector<float> out(
      static_cast<std::size_t>(vocab_),
      shared ? static_cast<float>(std::log(distribution.rest / others)) : -std::numeric_limits<float>::infinity());
  for (std::size_t i = 0; i < distribution.tokens.size(); ++i)
    out[static_cast<std::size_t>(distribution.tokens[i])] = distribution.log_probabilities[i];
  out[static_cast<std::size_t>(distribution.token)] = distribution.log_probability;
  return out;
}

RecordedDistributions RecordedDistributions::first(int count) const {
  RecordedDistributions out(vocab_);
  for (int i = 0; i < std::min(count, size()); ++i) out.add((*this)[i]);
  return out;
}

}  // namespace foretell::replay
