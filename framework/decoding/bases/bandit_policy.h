// The base of policies that treat draft lengths as the arms of a bandit.
//
// Arms are depths, no speculation (0) among them. One arm is played a round, for the whole batch; what comes back is
// the round's speed: emitted tokens by the time it took, in units of plain decoding, so that arm 0 is about 1. Speeds
// are compared as a ratio of sums (tokens over time), not as a mean of ratios: throughput is what is wanted, and a fast
// round of few tokens is not worth more than it took.
//
// Exploring costs: a round may only be played if LossLimit lets it, else arm 0 is. A round in which a sequence drafts
// for the first time contains the draft model's reading of the prompt and is not held against the arm; nor is, where
// times are modelled, any other reading.
//
// Contract: `reward: measured` looks at the clock; `modelled` takes what the round should have taken by the measured
// cost of n rows, and so depends on these alone. Bounded memory: numbers for each arm, and for each batch size that
// occurs.
#pragma once

#include <map>
#include <vector>

#include "framework/core/rng.h"
#include "framework/decoding/bases/round_account.h"

namespace foretell::bases {

struct BanditOptions {
  std::vector<int> depths = {0, 1, 2, 4, 8};
  std::string reward = "measured";
  std::int64_t seed = 1;
  PlanningOptions planning = {};
  void declare(Parameters& p);
};

// Tokens over time of one arm.
class SpeedStatistics {
 public:
  void add(double tokens, double time);
  void fade(double factor);  // all that was added counts for less
  double rounds() const { return rounds_; }
  double speed() const { return tokens_ / time_; }      // of at least one round
  double mean_time() const { return time_ / rounds_; }  // likewise
  // Standard deviation of speed() as an estimate. A round that was one token off is added, or a first few equal rounds
  // would look certain.
  double error() const;

 private:
  double rounds_ = 0, tokens_ = 0, time_ = 0, tokens2_ = 0, time2_ = 0, both_ = 0;
};

class BanditPolicy : public DraftPolicy {
 public:
  BanditPolicy(const BanditOptions& options, const BuildContext& context);
  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) final;
  void observe(std::span<const RoundRecord> records) final;

 protected:
  // The arm to play next; `round` counts from 0.
  virtual std::size_t choose(std::int64_t round) = 0;
  // What playing `arm` gave. `chosen`: by choose(); false if the limit put arm 0 in the place of another.
  virtual void learn(std::size_t arm, double tokens, double time, bool chosen) = 0;

  // Depths that the drafter can reach, in increasing order; the first is 0. Known when the first round is planned.
  const std::vector<int>& depths() const { return depths_; }
  // A generator for this round.
  PhiloxRng rng(std::int64_t round) const;

 private:
  std::size_t next_arm();
  bool allowed(std::size_t arm) const;
  void observe_measured(double tokens, std::int64_t ns, bool reads_a_prompt);

  BanditOptions options_;
  bool modelled_;
  RoundAccount account_;
  std::vector<int> depths_;
  std::int64_t round_ = 0;
  std::size_t arm_ = 0;
  bool chosen_ = false;
  // Of measured rewards.
  LossLimit limit_;
  SequenceStates<bool> drafted_;
  std::map<int, double> plain_ns_;  // of a round, by batch size; fading
  std::vector<SpeedStatistics> times_;
  bool drafted_before_ = false;
};

// Bandits that keep the speed of every arm and play the one with the highest index. Older rounds fade by `memory`, for
// a workload that changes.
struct SpeedBanditOptions : BanditOptions {
  double memory = 0.999;
  void declare(Parameters& p);
};

class SpeedBandit : public BanditPolicy {
 protected:
  SpeedBandit(const SpeedBanditOptions& options, const BuildContext& context)
      : BanditPolicy(options, context), memory_(options.memory) {}
  // `total` rounds of all arms; the first of equal indexes is played.
  virtual double index(const SpeedStatistics& arm, double total, PhiloxRng& random) const = 0;

 private:
  std::size_t choose(std::int64_t round) final;
  void learn(std::size_t arm, double tokens, double time, bool chosen) final;

  double memory_;
  std::vector<SpeedStatistics> arms_;
};

}  // namespace foretell::bases
