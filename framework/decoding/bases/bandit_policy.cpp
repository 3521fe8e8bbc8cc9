#include "framework/decoding/bases/bandit_policy.h"

#include <algorithm>
#include <cmath>

namespace foretell::bases {
namespace {

constexpr double kPlainFade = 0.9;  // of what plain rounds took before: the context grows, and with it their time
constexpr double kMadeUpVariance = 1.0;

}  // namespace

void BanditOptions::declare(Parameters& p) {
  p.add("depths", depths,
        "the arms: draft lengths, 0 for no speculation; those beyond the drafter's limit are left out",
        {.min = 0, .max = 4096, .aliases = {"arms"}});
  p.add("reward", reward, "tokens by measured time, or by the time that the rows should take",
        {.choices = {"measured", "modelled"}});
  p.add("seed", seed, "of the policy's own draws");
  planning.declare(p);
  std::vector<int> sorted = depths;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    throw Error(p.where(), "depths: an entry is there twice");
  if (sorted.empty() || sorted.front() != 0)
    throw Error(p.where(),
                "depths: 0 (no speculation) must be among them, or a drafter that never helps could not be left alone");
}

void SpeedStatistics::add(double tokens, double time) {
  rounds_ += 1;
  tokens_ += tokens;
  time_ += time;
  tokens2_ += tokens * tokens;
  time2_ += time * time;
  both_ += tokens * time;
}

void SpeedStatistics::fade(double factor) {
  for (double* sum : {&rounds_, &tokens_, &time_, &tokens2_, &time2_, &both_}) *sum *= factor;
}

// The delta method for a ratio of means: the variance of tokens - speed * time over the squared mean time.
double SpeedStatistics::error() const {
  const double s = speed();
  const double squares = std::max(0.0, tokens2_ - 2 * s * both_ + s * s * time2_);
  const double variance = (squares + kMadeUpVariance) / rounds_;
  return std::sqrt(variance / rounds_) / mean_time();
}

BanditPolicy::BanditPolicy(const BanditOptions& options, const BuildContext& context)
    : options_(options),
      modelled_(options.reward == "modelled"),
      account_(context, options.planning),
      limit_(options.planning.loss) {}

PhiloxRng BanditPolicy::rng(std::int64_t round) const {
  return PhiloxRng(
      {static_cast<std::uint64_t>(options_.seed), static_cast<std::uint64_t>(round), 0, RngPurpose::Policy});
}

void BanditPolicy::plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) {
  account_.begin(batch, budgets);
  drafted_.begin_round(batch);
  if (depths_.empty()) {
    for (const int depth : options_.depths)
      if (depth <= account_.max_depth()) depths_.push_back(depth);
    std::sort(depths_.begin(), depths_.end());
    times_.resize(depths_.size());
  }
  arm_ = next_arm();
  for (DraftBudget& budget : budgets) budget.depth = depths_[arm_];
}

std::size_t BanditPolicy::next_arm() {
  // A measured round means something beside a plain one only.
  chosen_ = modelled_ || plain_ns_.count(account_.batch()) > 0;
  if (!chosen_) return 0;
  const std::size_t arm = choose(round_);
  chosen_ = arm == 0 || allowed(arm);
  return chosen_ ? arm : 0;
}

bool BanditPolicy::allowed(std::size_t arm) const {
  if (modelled_) return account_.allows(depths_[arm]);
  const double time = times_[arm].rounds() > 0 ? times_[arm].mean_time() : 2.0;
  return limit_.allows(std::max(0.0, time - 1));
}

void BanditPolicy::observe(std::span<const RoundRecord> records) {
  double tokens = 0;
  std::int64_t ns = 0;
  bool reads_a_prompt = false;
  for (std::size_t i = 0; i < records.size(); ++i) {
    tokens += records[i].emitted / static_cast<double>(records.size());
    ns += records[i].ns.total();
    bool& drafted = *drafted_.round()[i];
    reads_a_prompt = reads_a_prompt || (records[i].drafted > 0 && !drafted);
    drafted = drafted || records[i].drafted > 0;
  }
  const double time = account_.end(records);
  if (modelled_)
    learn(arm_, tokens, time, chosen_);
  else
    observe_measured(tokens, ns, reads_a_prompt);
  ++round_;
}

void BanditPolicy::observe_measured(double tokens, std::int64_t ns, bool reads_a_prompt) {
  const auto taken = static_cast<double>(std::max<std::int64_t>(ns, 1));
  if (depths_[arm_] == 0) {
    const auto [plain, first] = plain_ns_.emplace(account_.batch(), taken);
    if (first) return;  // the first round of its kind also warms up
    plain->second = kPlainFade * plain->second + (1 - kPlainFade) * taken;
  }
  const double time = taken / plain_ns_.at(account_.batch());
  if (!reads_a_prompt || drafted_before_) limit_.add(tokens, time);
  drafted_before_ = drafted_before_ || reads_a_prompt;
  if (reads_a_prompt) return;
  times_[arm_].add(tokens, time);
  learn(arm_, tokens, time, chosen_);
}

void SpeedBanditOptions::declare(Parameters& p) {
  BanditOptions::declare(p);
  p.add("memory", memory, "weight of what was observed before at every new round; 1 never forgets",
        {.min = 0.9, .max = 1});
}

std::size_t SpeedBandit::choose(std::int64_t round) {
  arms_.resize(depths().size());
  PhiloxRng random = rng(round);
  double total = 0;
  for (const SpeedStatistics& arm : arms_) total += arm.rounds();
  std::vector<double> indexes;
  for (const SpeedStatistics& arm : arms_) indexes.push_back(index(arm, total, random));
  return static_cast<std::size_t>(std::max_element(indexes.begin(), indexes.end()) - indexes.begin());
}

void SpeedBandit::learn(std::size_t played, double tokens, double time, bool) {
  arms_.resize(depths().size());
  for (SpeedStatistics& arm : arms_) arm.fade(memory_);
  arms_[played].add(tokens, time);
}

}  // namespace foretell::bases
