// One draft length for the batch, of the highest goodput: accepted tokens a second (Liu et al. 2024, "SmartSpec", arXiv
// 2406.14066).
//
// Over k = 0, 1, ...: sum over sequences of (1 - a_r^(k+1)) / (1 - a_r), by the time of k draft steps and a forward of
// the target over all k + 1 rows of all sequences. a_r is the moving acceptance of sequence r. The more sequences, the
// more rows a token costs: at high load the best k is 0.
//
// Deviations: the time is read off the measured cost of n rows in place of a linear fit. a_r counts a rejection and the
// tokens accepted before it, not those behind it; a new sequence starts at the acceptance of the run. While nothing is
// drafted, one token is tried now and then, within LossLimit.
#include <algorithm>
#include <numeric>

#include "framework/decoding/bases/acceptance_estimate.h"
#include "framework/decoding/bases/round_account.h"

namespace foretell::policies::length {
namespace {

struct GoodputOptions {
  bases::AcceptanceOptions acceptance;
  bases::PlanningOptions planning;
  void declare(Parameters& p) {
    acceptance.declare(p);
    planning.declare(p);
  }
};

// Acceptance that is the same at every depth.
class OneRate {
 public:
  void observe(const RoundRecord& record, double memory) {
    const ObservedRun run = observed_run(record);
    for (int i = 0; i < run.accepted; ++i) count(true, memory);
    if (run.rejected) count(false, memory);
  }
  double rate(double prior, double weight) const { return (accepted_ + weight * prior) / (trials_ + weight); }

 private:
  void count(bool accepted, double memory) {
    trials_ = memory * trials_ + 1;
    accepted_ = memory * accepted_ + (accepted ? 1 : 0);
  }
  double accepted_ = 0, trials_ = 0;
};

double geometric_sum(double rate, int depth) {
  double sum = 1, power = 1;
  for (int i = 0; i < depth; ++i) sum += power *= rate;
  return sum;
}

class GoodputPolicy final : public DraftPolicy {
 public:
  using Options = GoodputOptions;
  GoodputPolicy(const Options& options, const BuildContext& context)
      : options_(options), account_(context, options.planning) {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    account_.begin(batch, budgets);
    sequences_.begin_round(batch);
    int depth = best_depth();
    probing_ = depth == 0 && account_.max_depth() > 0 && probes_.due();
    if (probing_) depth = 1;
    if (!account_.allows(depth)) depth = 0;
    for (DraftBudget& budget : budgets) budget.depth = depth;
  }

  void observe(std::span<const RoundRecord> records) override {
    account_.end(records);
    bool drafted = false, accepted = false;
    for (std::size_t i = 0; i < records.size(); ++i) {
      run_.observe(records[i], options_.acceptance.memory);
      sequences_.round()[i]->observe(records[i], options_.acceptance.memory);
      drafted = drafted || records[i].depth > 0;
      accepted = accepted || records[i].accepted > 0;
    }
    if (probing_ && drafted) probes_.answer(accepted);
  }

 private:
  int best_depth() const {
    const double weight = options_.acceptance.prior_weight;
    const double of_run = run_.rate(options_.acceptance.prior_rate, weight);
    int best = 0;
    double highest = 0;
    for (int depth = 0; depth <= account_.max_depth(); ++depth) {
      double emitted = 0;
      for (const OneRate* sequence : sequences_.round())
        emitted += geometric_sum(sequence->rate(of_run, weight), depth);
      const double goodput = emitted / account_.time(depth);
      if (goodput <= highest) continue;
      highest = goodput;
      best = depth;
    }
    return best;
  }

  Options options_;
  bases::RoundAccount account_;
  OneRate run_;
  bases::SequenceStates<OneRate> sequences_;
  bases::ProbeSchedule probes_;
  bool probing_ = false;
};

FORETELL_REGISTER(DraftPolicy, GoodputPolicy, "goodput",
                  {.summary = "one draft length for the batch, none included, of the most accepted tokens a second",
                   .stateful = true,
                   .uses_wall_clock = true,
                   .paper = {"Liu et al.", 2024, "2406.14066"},
                   .also_known_as = {"SmartSpec", "TurboSpec"}});

}  // namespace
}  // namespace foretell::policies::length
