/// @file
/// From logits to a distribution: penalties and bias, then temperature, top-k, top-p, min-p.
///
/// Contract: temperature 0 is a point mass at the highest adjusted logit (the lowest id among equals), so greedy
/// decoding needs no second path downstream. A temperature below kGreedyBelow is 0: no two logits of a float32 that
/// differ at all would share probability there but near ties, and its inverse would overflow. Otherwise the order is:
/// repetition and presence penalty and logit bias on the logits; softmax at the temperature; the top_k most probable
/// tokens; the smallest set of most probable tokens whose mass reaches top_p (the token that crosses it stays),
/// measured after top-k; tokens of at least min_p times the highest probability. Ties go to the lowest id at every cut.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "framework/core/parameters.h"
#include "framework/core/types.h"
#include "framework/sampling/distribution.h"

namespace foretell {

/// As in vLLM.
inline constexpr double kGreedyBelow = 1e-5;

/// Logits that no token can be chosen from. Who knows whose they are says so with of().
class BadLogits : public Error {
 public:
  /// `fault`: "logits have a NaN", without their owner.
  explicit BadLogits(std::string fault) : Error("the model's " + fault), fault_(std::move(fault)) {}
  /// The same with the owner's name: "the draft model's".
  Error of(std::string_view owner) const { return Error(fmt::format("{} {}", owner, fault_)); }

 private:
  std::string fault_;
};

/// How tokens are chosen from logits.
struct SamplingOptions {
  double temperature = 0.0;         ///< 0: greedy
  int top_k = 0;                    ///< 0: off
  double top_p = 1.0;               ///< 1: off
  double min_p = 0.0;               ///< 0: off
  double repetition_penalty = 1.0;  ///< divides positive and multiplies negative logits of tokens in prompt or output
                                    ///< (Keskar et al. 2019, 1909.05858)
  double presence_penalty = 0.0;    ///< subtracted from the logits of tokens in the output
  std::vector<std::string> logit_bias = {};  ///< "token:bias"
  /// Documents and reads these options.
  void declare(Parameters& p);

  /// Whether the highest adjusted logit is taken.
  bool greedy() const { return temperature < kGreedyBelow; }
};

/// A SamplingOptions that has been checked against a vocabulary. `context` is what the next token follows: the prompt,
/// the tokens generated so far, and the drafted tokens on this node's own path.
struct SamplingContext {
  TokenSpan prompt;     ///< of the request
  TokenSpan generated;  ///< so far, committed
  TokenSpan path;       ///< drafted, from the root to the node
};

/// SamplingOptions for one vocabulary, checked.
class Sampler {
 public:
  /// An Error for values out of range: a biased token outside [0, vocab), a bias that is no number.
  Sampler(const SamplingOptions& options, int vocab);

  /// As given.
  const SamplingOptions& options() const { return options_; }
  /// See SamplingOptions::greedy().
  bool greedy() const { return options_.greedy(); }
  /// Whether logits depend on the context or on a bias at all; if not, the argmax of the raw logits is the greedy
  /// token.
  bool adjusts() const;
  /// Penalties and bias, in place. [vocab]
  void adjust(std::span<float> logits, const SamplingContext& context) const;
  /// The distribution of the next token. BadLogits if they have a NaN, a positive infinity or no finite entry.
  Distribution distribution(std::span<const float> adjusted) const;

 private:
  SamplingOptions options_;
  std::vector<std::pair<Token, float>> bias_;
};

/// The index of the highest value, the lowest among equals. BadLogits on NaN and on rows without a finite value.
Token argmax_checked(std::span<const float> logits);

/// The k highest values' indices, highest first, the lowest id first among equals. BadLogits as for argmax_checked.
std::vector<Token> highest(std::span<const float> logits, int k);

}  // namespace foretell
