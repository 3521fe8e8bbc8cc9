// Speculate only while it pays, as measured for each sequence by itself ("Cascade", Saxena et al. 2025, arXiv
// 2506.20675; made for mixtures of experts, where verifying more tokens reads more experts).
//
// The utility of a draft length k is U(k) = (tokens a round with it / tokens a round without) / (time of a round with
// it / time without); without a draft a round has one token, and U(0) = 1. Test and set phases alternate. A test phase
// plays `test_rounds` of k = 0, which measures the time without a draft, then climbs: `test_rounds` of the best length
// so far, of one more as long as U rises, else of one less. The best length is kept for the set phase of `set_rounds`;
// if no length has U > 1 that is 0, and each such phase that follows another one is twice as long, up to `longest_set`.
//
// Deviation: the paper's lengths of phases are not known here; the defaults are ours. The time of a round of 0 is an
// average that moves by `memory`, as the text that is attended to grows.
#include <algorithm>
#include <map>

#include "framework/api/build_context.h"
#include "framework/core/parameters.h"
#include "framework/decoding/bases/sequence_states.h"

namespace foretell::policies::length {
namespace {

struct CascadeUtilityOptions {
  int test_rounds = 4, set_rounds = 16, longest_set = 128, first = 2;
  double memory = 0.3;
  void declare(Parameters& p) {
    p.add("test_rounds", test_rounds, "rounds that each length is tried for", {.min = 1, .max = 1024});
    p.add("set_rounds", set_rounds, "rounds that the best length is kept for", {.min = 1, .max = 1 << 16});
    p.add("longest_set", longest_set, "rounds without a draft before the next test, at most",
          {.min = 1, .max = 1 << 20});
    p.add("first", first, "length that the first climb starts at", {.min = 1, .max = 1024});
    p.add("memory", memory, "share of the newest measurement in the time without a draft", {.min = 0.001, .max = 1});
  }
};

// What was seen of one length in a test phase.
struct Trial {
  double tokens = 0, ns = 0, rounds = 0;
};

// One sequence. plan() asks depth(), observe() tells what the round gave.
class UtilityClimb {
 public:
  UtilityClimb(const CascadeUtilityOptions& options, int most) : options_(options), most_(most) {
    best_ = std::min(options.first, most);
  }

  int depth() const { return depth_; }

  void observe(int tokens, double ns) {
    ++rounds_;
    if (!testing_) {
      if (rounds_ >= set_rounds_) begin_test();
      return;
    }
    Trial& trial = trials_[depth_];
    trial.tokens += tokens;
    trial.ns += ns;
    if (++trial.rounds < options_.test_rounds) return;
    if (depth_ == 0) learn_plain(trial.ns / trial.rounds);
    next_trial();
  }

 private:
  void begin_test() {
    testing_ = true;
    trials_.clear();
    depth_ = rounds_ = 0;
  }

  void learn_plain(double ns) {
    plain_ns_ = plain_ns_ > 0 ? (1 - options_.memory) * plain_ns_ + options_.memory * ns : ns;
  }

  double utility(int depth) const {
    const auto found = trials_.find(depth);
    if (depth == 0) return 1;
    if (found == trials_.end() || found->second.ns <= 0) return 0;
    const Trial& trial = found->second;
    return trial.tokens / trial.rounds / (trial.ns / trial.rounds / plain_ns_);
  }

  bool tried(int depth) const { return trials_.count(depth) > 0; }

  // The length that the climb looks at next; none where it has come to its top.
  int next_depth() const {
    if (depth_ == 0) return best_;
    if (depth_ >= best_) {
      const bool rises = depth_ == best_ || utility(depth_) > utility(depth_ - 1);
      if (rises && depth_ < most_) return depth_ + 1;
      // Upwards nothing was gained: the other side of where it began.
      if (depth_ <= best_ + 1 && best_ > 1 && utility(best_) >= utility(depth_)) return best_ - 1;
      return 0;
    }
    return utility(depth_) > utility(depth_ + 1) && depth_ > 1 ? depth_ - 1 : 0;
  }

  void next_trial() {
    const int next = most_ == 0 ? 0 : next_depth();
    if (next > 0 && !tried(next)) {
      depth_ = next;
      return;
    }
    int best = 0;
    for (const auto& [depth, trial] : trials_)
      if (utility(depth) > utility(best)) best = depth;
    set_rounds_ = best > 0 ? options_.set_rounds
                           : std::min(options_.longest_set, paused_ ? 2 * set_rounds_ : options_.set_rounds);
    paused_ = best == 0;
    if (best > 0) best_ = best;
    depth_ = best;
    testing_ = false;
    rounds_ = 0;
  }

  const CascadeUtilityOptions& options_;
  int most_;
  int best_;
  bool testing_ = true, paused_ = false;
  int depth_ = 0, rounds_ = 0, set_rounds_ = 0;
  double plain_ns_ = 0;
  std::map<int, Trial> trials_;
};

class CascadeUtilityPolicy final : public DraftPolicy {
 public:
  using Options = CascadeUtilityOptions;
  CascadeUtilityPolicy(const Options& options, const BuildContext&) : options_(options) {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    const int most = budgets.empty() ? 0 : budgets.front().depth;
    const auto& states = states_.begin_round(batch, [&] { return UtilityClimb(options_, most); });
    for (std::size_t i = 0; i < budgets.size(); ++i) budgets[i].depth = std::min(budgets[i].depth, states[i]->depth());
  }

  void observe(std::span<const RoundRecord> records) override {
    for (std::size_t i = 0; i < records.size(); ++i)
      states_.round()[i]->observe(records[i].emitted, static_cast<double>(records[i].ns.total()));
  }

 private:
  Options options_;
  bases::SequenceStates<UtilityClimb> states_;
};

FORETELL_REGISTER(DraftPolicy, CascadeUtilityPolicy, "cascade_utility",
                  {.summary = "the draft length, none included, of the highest measured utility of each sequence",
                   .stateful = true,
                   .uses_wall_clock = true,
                   .paper = {"Saxena et al.", 2025, "2506.20675"},
                   .also_known_as = {"utility-driven speculation"}});

}  // namespace
}  // namespace foretell::policies::length
