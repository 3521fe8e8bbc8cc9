/// @file
/// Randomness as a parameter.
///
/// Contract: strategies draw through this interface and nothing else. It offers decisions, not raw bits, so that a test
/// can put an enumerator in the generator's place and walk every branch of the production code with its exact
/// probability.
///
/// Philox is counter based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a generator is keyed by
/// (seed, request, position, purpose), so neither the order of the requests nor the batch nor the threads change what
/// is drawn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace foretell {

/// The decisions that a strategy may leave to chance.
class Rng {
 public:
  virtual ~Rng() = default;
  /// True with the given probability. At or below 0 it is false, at or above 1 true, and nothing is drawn.
  virtual bool bernoulli(double probability) = 0;
  /// An index with probability weights[i] / sum(weights). Weights are not negative and at least one is positive; an
  /// index of weight 0 never comes.
  virtual std::size_t pick(std::span<const double> weights) = 0;
};

/// One generator for each purpose: the uniform that decides whether drafting stops must not be the one that decides
/// whether a token is accepted.
enum class RngPurpose : std::uint32_t { Draft = 1, Verify = 2, Policy = 3, Prefill = 4, Workload = 5 };

/// What a generator is keyed by: equal keys draw equal numbers.
struct RngKey {
  std::uint64_t seed = 0;                  ///< of the run
  std::uint64_t request = 0;               ///< Request::id
  std::uint32_t position = 0;              ///< committed tokens when the round starts
  RngPurpose purpose = RngPurpose::Draft;  ///< what the numbers decide
};

/// The generator of real runs.
class PhiloxRng final : public Rng {
 public:
  /// Starts at the first number of the key.
  explicit PhiloxRng(const RngKey& key);
  bool bernoulli(double probability) override;
  std::size_t pick(std::span<const double> weights) override;
  /// [0, 1) with 53 bits.
  double uniform();
  /// 64 bits.
  std::uint64_t next();
  /// Uniform in [0, bound), bound > 0.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

/// Ten rounds of Philox 4x32, exposed for the known-answer test.
std::array<std::uint32_t, 4> philox_block(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

}  // namespace foretell
