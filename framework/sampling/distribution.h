/// @file
/// A probability distribution over the vocabulary, after logits processing.
///
/// Contract: an immutable value with one of three storages: a point mass (greedy targets, n-gram drafts), sparse (after
/// top-k or top-p) or dense. Probabilities are float64, not negative and sum to 1 up to rounding. Copies of point
/// masses cost nothing; no operation on one touches the vocabulary.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/core/rng.h"
#include "framework/core/types.h"

namespace foretell {

/// A probability distribution over the vocabulary.
class Distribution {
 public:
  /// All mass on one token: q of a deterministic draft token, p of a greedy target.
  static Distribution point_mass(int vocab, Token token);
  /// weights[t] for every token t; normalised here. At least one is positive. What breaks that so that it shows in the
  /// sum is a ContractError.
  static Distribution dense(std::vector<double> weights);
  /// Tokens in strictly increasing order with their weights; normalised here.
  static Distribution sparse(int vocab, std::vector<Token> tokens, std::vector<double> weights);

  /// The number of tokens.
  int vocab() const { return vocab_; }
  /// The sum of the weights that it was made of: 1 up to rounding if these were probabilities.
  double given_sum() const { return given_sum_; }
  /// The first entry that no distribution can have: a negative probability, a token that is out of range or out of
  /// order. A pass over all entries.
  std::optional<std::string> bad_entry() const;
  /// Whether it was made by point_mass().
  bool is_point_mass() const { return storage_ == Storage::Point; }
  /// The probability of a token.
  double operator[](Token token) const;
  /// The most probable token, the lowest id among equals.
  Token mode() const;
  /// Draws a token: one pick().
  Token draw(Rng& rng) const;
  /// Nats.
  double entropy() const;

  /// f(token, probability) over the support in increasing order of token; entries of probability zero may be visited.
  template <class F>
  void for_each(F&& f) const {
    switch (storage_) {
      case Storage::Point: f(token_, 1.0); break;
      case Storage::Sparse:
        for (std::size_t i = 0; i < tokens_.size(); ++i) f(tokens_[i], weights_[i]);
        break;
      case Storage::Dense:
        for (std::size_t t = 0; t < weights_.size(); ++t) f(static_cast<Token>(t), weights_[t]);
        break;
    }
  }

  /// The k most probable tokens, most probable first, lower ids first among equals; fewer if the support is smaller.
  std::vector<Token> top(int k) const;

 private:
  friend struct Excess excess(const Distribution& p, const Distribution& q, double weight);
  friend std::optional<Distribution> without(const Distribution& q, Token token);
  enum class Storage { Point, Sparse, Dense };
  double normalise();
  void normalise_given();

  Storage storage_ = Storage::Point;
  int vocab_ = 0;
  Token token_ = 0;
  double given_sum_ = 1;
  std::vector<Token> tokens_;
  std::vector<double> weights_;
};

/// What `weight` times p has over q.
struct Excess {
  double mass = 0;  ///< sum over x of max(weight * p(x) - q(x), 0); 0 if nothing but rounding is left
  std::optional<Distribution> distribution;  ///< that, normalised; none if mass is 0
};
/// See Excess. `weight` scales p.
Excess excess(const Distribution& p, const Distribution& q, double weight = 1.0);

/// The residual after a rejection (Leviathan et al. 2022, arXiv 2211.17192): norm(max(p - q, 0)). If p = q a rejection
/// has probability zero and only rounding leads here: then p itself.
Distribution residual(const Distribution& p, const Distribution& q);

/// q with one token removed, renormalised: the distribution of the next draw without replacement. None if nothing is
/// left.
std::optional<Distribution> without(const Distribution& q, Token token);

/// sum over x of min(p(x), q(x)): the probability that one draw from q is accepted against p; 1 minus the total
/// variation distance.
double overlap(const Distribution& p, const Distribution& q);

}  // namespace foretell
