#include "framework/sampling/sampling.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/core/vocab_ops.h"

namespace foretell {
namespace {

[[noreturn]] void bad_logits(std::span<const float> logits) {
  const auto nan = std::find_if(logits.begin(), logits.end(), [](float x) { return std::isnan(x); });
  if (nan != logits.end())
    throw BadLogits(
        fmt::format("logits contain NaN (first at token {} of {}): its weights are damaged or its dtype overflows",
                    nan - logits.begin(), logits.size()));
  throw BadLogits(
      fmt::format("logits have no finite value among {}: nothing can be chosen", counted(logits.size(), "token")));
}

struct Candidate {
  Token token;
  double probability;
};

bool before(const Candidate& a, const Candidate& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

// The softmax but for a common factor: the largest weight is 1.
std::vector<double> softmax_weights(std::span<const float> logits, double temperature) {
  std::vector<double> weights(logits.size());
  exponentials(logits, logits[argmax_checked(logits)], 1 / temperature, weights);
  return weights;
}

// Beyond this a temperature is a uniform distribution, a penalty rules a token out or in, and products of them could
// leave the range of a float32.
constexpr double kMostExtreme = 1e6;
constexpr double kMostBias = 1e9;

// Above so many, putting each in its place costs more than partitioning them all.
constexpr int kFewKept = 256;

// Keeps the k first candidates in the order of probability.
void cut_top_k(std::vector<Candidate>& kept, int k) {
  if (k <= 0 || static_cast<std::size_t>(k) >= kept.size()) return;
  std::nth_element(kept.begin(), kept.begin() + k, kept.end(), before);
  kept.resize(static_cast<std::size_t>(k));
}

// The tokens that top-k leaves, and of those the ones that top-p and min-p could leave: a vocabulary's worth of
// candidates would cost more than the softmax. The largest weight is 1.
std::vector<Candidate> candidates(std::span<const float> logits, std::span<const double> weights,
                                  const SamplingOptions& options) {
  std::vector<Candidate> kept;
  if (options.top_k > 0 && options.top_k <= kFewKept) {
    for (const Token t : highest(logits, options.top_k))
      if (weights[static_cast<std::size_t>(t)] > 0) kept.push_back({t, weights[static_cast<std::size_t>(t)]});
    return kept;
  }
  double floor = 0;
  if (options.top_k == 0) {
    // Tokens below this weight together have less mass than what may be cut.
    if (options.top_p < 1.0) floor = (1.0 - options.top_p) * sum_of(weights) / static_cast<double>(weights.size());
    floor = std::max(floor, options.min_p) * (1 - 1e-9);
  }
  for (std::size_t t = 0; t < weights.size(); ++t)
    if (weights[t] > 0 && weights[t] >= floor) kept.push_back({static_cast<Token>(t), weights[t]});
  cut_top_k(kept, options.top_k);
  return kept;
}

// Keeps the shortest prefix, in the order of probability, that reaches top_p of `mass`, which candidates left out
// before may have had a part of.
void cut_top_p(std::vector<Candidate>& kept, double top_p, double mass) {
  if (top_p >= 1.0) return;
  std::sort(kept.begin(), kept.end(), before);
  double sum = 0;
  std::size_t count = 0;
  while (count < kept.size() && (count == 0 || sum < top_p * mass)) sum += kept[count++].probability;
  kept.resize(count);
}

void cut_min_p(std::vector<Candidate>& kept, double min_p) {
  if (min_p <= 0) return;
  double top = 0;
  for (const Candidate& c : kept) top = std::max(top, c.probability);
  std::erase_if(kept, [&](const Candidate& c) { return c.probability < min_p * top; });
}

std::pair<Token, float> parse_bias(const std::string& text, int vocab) {
  const std::size_t colon = text.find(':');
  int token = 0;
  float bias = 0;
  const char* end = text.data() + text.size();
  const char* middle = text.data() + std::min(colon, text.size());
  const bool ok = colon != std::string::npos && std::from_chars(text.data(), middle, token).ptr == middle &&
                  middle != text.data() && std::from_chars(middle + 1, end, bias).ptr == end && middle + 1 != end &&
                  std::isfinite(bias);
  if (!ok) fail("logit_bias: expected token:bias such as 42:-1.5, found '{}'", text);
  if (std::abs(bias) > kMostBias)
    fail("logit_bias: {} for token {}; from -{} to {} are taken", bias, token, kMostBias, kMostBias);
  if (token < 0 || token >= vocab) fail("logit_bias: token {} is outside the vocabulary of {} tokens", token, vocab);
  return {token, bias};
}

}  // namespace

void SamplingOptions::declare(Parameters& p) {
  p.add("temperature", temperature, "0, or less than 1e-5, is greedy decoding", {.min = 0, .max = kMostExtreme});
  p.add("top_k", top_k, "keep the k most probable tokens; 0 keeps all", {.min = 0});
  p.add("top_p", top_p, "keep the most probable tokens up to this mass, the one that crosses it included",
        {.min = 1e-9, .max = 1});
  p.add("min_p", min_p, "keep tokens of at least this share of the highest probability", {.min = 0, .max = 1});
  p.add("repetition_penalty", repetition_penalty, "divides the logits of tokens that occurred; 1 is off",
        {.min = 1e-6, .max = kMostExtreme});
  p.add("presence_penalty", presence_penalty, "subtracted from the logits of tokens that were generated",
        {.min = -kMostExtreme, .max = kMostExtreme});
  p.add("logit_bias", logit_bias, "added to logits, as token:bias");
}

Sampler::Sampler(const SamplingOptions& options, int vocab) : options_(options) {
  for (const std::string& text : options_.logit_bias) bias_.push_back(parse_bias(text, vocab));
}

bool Sampler::adjusts() const {
  return options_.repetition_penalty != 1.0 || options_.presence_penalty != 0.0 || !bias_.empty();
}

void Sampler::adjust(std::span<float> logits, const SamplingContext& context) const {
  if (!adjusts()) return;
  const auto collect = [](std::unordered_set<Token>& into, TokenSpan tokens) {
    into.insert(tokens.begin(), tokens.end());
  };
  std::unordered_set<Token> produced;
  collect(produced, context.generated);
  collect(produced, context.path);
  if (options_.repetition_penalty != 1.0) {
    std::unordered_set<Token> seen = produced;
    collect(seen, context.prompt);
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const Token t : seen) logits[t] = logits[t] > 0 ? logits[t] / penalty : logits[t] * penalty;
  }
  for (const Token t : produced) logits[t] -= static_cast<float>(options_.presence_penalty);
  for (const auto& [token, bias] : bias_) logits[token] += bias;
}

Distribution Sampler::distribution(std::span<const float> adjusted) const {
  const int vocab = static_cast<int>(adjusted.size());
  if (greedy()) return Distribution::point_mass(vocab, argmax_checked(adjusted));
  std::vector<double> weights = softmax_weights(adjusted, options_.temperature);
  const bool cuts = options_.top_k > 0 || options_.top_p < 1.0 || options_.min_p > 0;
  if (!cuts) return Distribution::dense(std::move(weights));

  std::vector<Candidate> kept = candidates(adjusted, weights, options_);
  double mass = 0;
  if (options_.top_k > 0) {
    for (const Candidate& c : kept) mass += c.probability;
  } else {
    mass = sum_of(weights);
  }
  cut_top_p(kept, options_.top_p, mass);
  cut_min_p(kept, options_.min_p);
  std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  std::vector<Token> tokens;
  std::vector<double> masses;
  for (const Candidate& c : kept) {
    tokens.push_back(c.token);
    masses.push_back(c.probability);
  }
  return Distribution::sparse(vocab, std::move(tokens), std::move(masses));
}

Token argmax_checked(std::span<const float> logits) {
  const Peak peak = peak_of(logits);
  if (peak.nan || !std::isfinite(peak.value)) bad_logits(logits);
  return static_cast<Token>(peak.index);
}

// One pass that keeps the best so far in order: few blocks, and few entries of those, get past the comparison with the
// last of them.
std::vector<Token> highest(std::span<const float> logits, int k) {
  if (k <= 1) return {argmax_checked(logits)};
  std::vector<Token> best;
  float bar = -std::numeric_limits<float>::infinity();
  for (std::size_t first = 0; first < logits.size(); first += kRowBlock) {
    const std::size_t last = std::min(first + kRowBlock, logits.size());
    const Peak peak = peak_of(logits.subspan(first, last - first));
    if (peak.nan) bad_logits(logits);
    if (peak.value <= bar) continue;
    for (std::size_t i = first; i < last; ++i) {
      const float value = logits[i];
      if (value <= bar) continue;
      const auto place =
          std::upper_bound(best.begin(), best.end(), value, [&](float v, Token t) { return v > logits[t]; });
      best.insert(place, static_cast<Token>(i));
      if (best.size() > static_cast<std::size_t>(k)) best.pop_back();
      if (best.size() == static_cast<std::size_t>(k)) bar = logits[best.back()];
    }
  }
  if (best.empty() || !std::isfinite(logits[best.front()])) bad_logits(logits);
  return best;
}

}  // namespace foretell
