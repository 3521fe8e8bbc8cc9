// The draft length that the arithmetic of speculative decoding calls best (Leviathan et al. 2022, arXiv 2211.17192,
// section 3), from what is measured: the acceptance of every depth so far, and what n rows cost on this machine.
//
// A round that drafts d tokens emits E(d) = 1 + sum over i <= d of a(1) ... a(i) and takes T(d) = d draft steps + a
// forward of the target with d + 1 rows. With R tokens to go and U the time in which the draft model reads what it has
// not read yet, the chosen d has the least R T(d) / E(d) + U (no U at d = 0); no speculation is one of the choices.
// a(i) is estimated over the run (framework/decoding/bases/acceptance_estimate.h). While nothing is drafted, one token
// is tried now and then (ProbeSchedule), and LossLimit bounds what all of it may lose.
//
// Deviations: acceptance by depth in place of one rate, T(d) in place of a forward that costs the same for any number
// of rows. In a batch one depth is chosen for all sequences. A tree's nodes are spread evenly over its depths.
#include <algorithm>

#include "framework/decoding/bases/acceptance_estimate.h"
#include "framework/decoding/bases/round_account.h"

namespace foretell::policies::length {
namespace {

struct CostModelOptions {
  std::optional<int> max_depth;
  bases::AcceptanceOptions acceptance;
  bases::PlanningOptions planning;
  void declare(Parameters& p) {
    p.add("max_depth", max_depth, "never drafted deeper; none: the drafter's limit",
          {.min = 0, .max = 4096, .aliases = {"num_speculative_tokens"}});
    acceptance.declare(p);
    planning.declare(p);
  }
};

class CostModelPolicy final : public DraftPolicy {
 public:
  using Options = CostModelOptions;
  CostModelPolicy(const Options& options, const BuildContext& context)
      : options_(options), account_(context, options.planning), acceptance_(options.acceptance) {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    account_.begin(batch, budgets);
    int depth = best_depth(batch);
    probing_ = depth == 0 && account_.max_depth() > 0 && probes_.due();
    if (probing_) depth = 1;
    if (!account_.allows(depth)) depth = 0;
    for (DraftBudget& budget : budgets) budget.depth = depth;
  }

  void observe(std::span<const RoundRecord> records) override {
    account_.end(records);
    bool drafted = false, accepted = false;
    for (const RoundRecord& record : records) {
      acceptance_.observe(record);
      drafted = drafted || record.depth > 0;
      accepted = accepted || record.accepted > 0;
    }
    if (probing_ && drafted) probes_.answer(accepted);
  }

 private:
  int best_depth(std::span<const PolicyView> batch) const {
    double remaining = 0;
    for (const PolicyView& view : batch) remaining += view.remaining / static_cast<double>(batch.size());
    const int deepest = std::min(account_.max_depth(), options_.max_depth.value_or(account_.max_depth()));
    const std::vector<double> reach = acceptance_.reach(deepest);
    int best = 0;
    double emitted = 1, least = remaining * account_.time(0);
    for (int depth = 1; depth <= deepest; ++depth) {
      emitted += reach[static_cast<std::size_t>(depth) - 1];
      const std::vector<int> depths(batch.size(), depth);
      const double time = remaining * account_.time(depths) / emitted + account_.catch_up(depths);
      if (time >= least) continue;
      least = time;
      best = depth;
    }
    return best;
  }

  Options options_;
  bases::RoundAccount account_;
  bases::AcceptanceEstimate acceptance_;
  bases::ProbeSchedule probes_;
  bool probing_ = false;
};

FORETELL_REGISTER(
    DraftPolicy, CostModelPolicy, "cost_model",
    {.summary = "the draft length, none included, that measured acceptance and measured costs call fastest",
     .stateful = true,
     .uses_wall_clock = true,
     .paper = {"Leviathan et al.", 2022, "2211.17192"}});

}  // namespace
}  // namespace foretell::policies::length
