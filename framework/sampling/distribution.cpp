#include "framework/sampling/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/core/vocab_ops.h"

namespace foretell {
namespace {

// What is left of a distribution after subtractions is rounding noise below this mass.
constexpr double kNothing = 1e-12;

}  // namespace

Distribution Distribution::point_mass(int vocab, Token token) {
  FORETELL_CONTRACT(token >= 0 && token < vocab, "token {} is outside the vocabulary of {} tokens", token, vocab);
  Distribution distribution;
  distribution.vocab_ = vocab;
  distribution.token_ = token;
  return distribution;
}

Distribution Distribution::dense(std::vector<double> weights) {
  Distribution distribution;
  distribution.storage_ = Storage::Dense;
  distribution.vocab_ = static_cast<int>(weights.size());
  distribution.weights_ = std::move(weights);
  distribution.normalise_given();
  return distribution;
}

Distribution Distribution::sparse(int vocab, std::vector<Token> tokens, std::vector<double> weights) {
  FORETELL_CONTRACT(tokens.size() == weights.size(), "a sparse distribution of {} with {}",
                    counted(tokens.size(), "token"), counted(weights.size(), "weight"));
  Distribution distribution;
  distribution.storage_ = Storage::Sparse;
  distribution.vocab_ = vocab;
  distribution.tokens_ = std::move(tokens);
  distribution.weights_ = std::move(weights);
  distribution.normalise_given();
  if (distribution.tokens_.size() > 1) return distribution;
  Distribution point = point_mass(vocab, distribution.tokens_[0]);
  point.given_sum_ = distribution.given_sum_;
  return point;
}

// The sum of the weights before.
double Distribution::normalise() {
  const double sum = sum_of(weights_);
  FORETELL_CONTRACT(std::isfinite(sum), "the weights of a distribution are finite numbers; their sum is {}", sum);
  if (sum > 0) scale(weights_, 1 / sum);
  return sum;
}

void Distribution::normalise_given() {
  given_sum_ = normalise();
  FORETELL_CONTRACT(given_sum_ > 0, "a distribution has no probability: the sum of its {} is {}",
                    counted(weights_.size(), "weight"), given_sum_);
}

std::optional<std::string> Distribution::bad_entry() const {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i] < 0 || tokens_[i] >= vocab_)
      return fmt::format("token {} is outside the vocabulary of {} tokens", tokens_[i], vocab_);
    if (i > 0 && tokens_[i] <= tokens_[i - 1])
      return fmt::format("token {} follows token {}", tokens_[i], tokens_[i - 1]);
  }
  bool negative = false;  // without a way out of the loop, which is then done in vectors
  for (const double weight : weights_) negative |= weight < 0;
  if (!negative) return std::nullopt;
  const auto at =
      std::find_if(weights_.begin(), weights_.end(), [](double weight) { return weight < 0; }) - weights_.begin();
  return fmt::format("token {} has the probability {:.6g}",
                     storage_ == Storage::Sparse ? tokens_[at] : static_cast<Token>(at), weights_[at] * given_sum_);
}

double Distribution::operator[](Token token) const {
  switch (storage_) {
    case Storage::Point: return token == token_ ? 1.0 : 0.0;
    case Storage::Dense: return weights_[token];
    case Storage::Sparse: {
      const auto it = std::lower_bound(tokens_.begin(), tokens_.end(), token);
      return it != tokens_.end() && *it == token ? weights_[it - tokens_.begin()] : 0.0;
    }
  }
  return 0.0;
}

Token Distribution::mode() const {
  if (storage_ == Storage::Point) return token_;
  const auto best = std::max_element(weights_.begin(), weights_.end()) - weights_.begin();
  return storage_ == Storage::Sparse ? tokens_[best] : static_cast<Token>(best);
}

Token Distribution::draw(Rng& rng) const {
  if (storage_ == Storage::Point) return token_;
  const std::size_t index = rng.pick(weights_);
  return storage_ == Storage::Sparse ? tokens_[index] : static_cast<Token>(index);
}

double Distribution::entropy() const {
  double sum = 0;
  for_each([&](Token, double p) { sum -= p > 0 ? p * std::log(p) : 0.0; });
  return sum;
}

std::vector<Token> Distribution::top(int k) const {
  if (storage_ == Storage::Point) return k > 0 ? std::vector<Token>{token_} : std::vector<Token>{};
  std::vector<std::size_t> order(weights_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto count = std::min<std::size_t>(order.size(), static_cast<std::size_t>(std::max(k, 0)));
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
      [&](std::size_t a, std::size_t b) { return weights_[a] != weights_[b] ? weights_[a] > weights_[b] : a < b; });
  std::vector<Token> out;
  for (std::size_t i = 0; i < count && weights_[order[i]] > 0; ++i)
    out.push_back(storage_ == Storage::Sparse ? tokens_[order[i]] : static_cast<Token>(order[i]));
  return out;
}

Excess excess(const Distribution& p, const Distribution& q, double weight) {
  if (p.is_point_mass()) {
    const double mass = weight - q[p.token_];
    if (mass <= kNothing) return {};
    return {mass, p};
  }
  Distribution out = p;
  double sum = 0;
  if (q.storage_ == Distribution::Storage::Dense && p.storage_ == Distribution::Storage::Dense) {
    sum = positive_part(p.weights_, q.weights_, weight, out.weights_);
  } else if (p.storage_ == Distribution::Storage::Dense) {
    if (weight != 1.0)
      for (double& w : out.weights_) w *= weight;
    q.for_each([&](Token t, double mass) { out.weights_[t] = std::max(out.weights_[t] - mass, 0.0); });
    sum = sum_of(out.weights_);
  } else {
    for (std::size_t i = 0; i < out.tokens_.size(); ++i)
      sum += out.weights_[i] = std::max(weight * p.weights_[i] - q[p.tokens_[i]], 0.0);
  }
  if (sum <= kNothing) return {};
  out.normalise();
  return {sum, std::move(out)};
}

Distribution residual(const Distribution& p, const Distribution& q) {
  Excess left = excess(p, q);
  if (!left.distribution) return p;
  return std::move(*left.distribution);
}

std::optional<Distribution> without(const Distribution& q, Token token) {
  const double mass = q[token];
  if (1.0 - mass <= kNothing) return std::nullopt;
  if (mass <= 0) return q;
  Distribution out = q;
  if (q.storage_ == Distribution::Storage::Dense)
    out.weights_[token] = 0;
  else
    out.weights_[std::lower_bound(q.tokens_.begin(), q.tokens_.end(), token) - q.tokens_.begin()] = 0;
  out.normalise();
  return out;
}

double overlap(const Distribution& p, const Distribution& q) {
  double sum = 0;
  p.for_each([&](Token t, double mass) { sum += std::min(mass, q[t]); });
  return sum;
}

}  // namespace foretell
