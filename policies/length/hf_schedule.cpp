// The schedules of Hugging Face's assisted generation: how many tokens the draft has, by what became of the last one.
//
// `heuristic`: a draft that was accepted whole makes the next one 2 tokens longer, any other 1 shorter; the number is
// one for the run, and the next prompt goes on from it. `heuristic_transient`: each sequence starts anew. `constant`:
// always num_assistant_tokens.
//
// Deviations: the number does not grow beyond what the drafter can do, or it would take as long to come down again; and
// `floor` may be 0, where the original stops at 1. At 0 nothing is drafted, so after 16 rounds one token is tried, then
// twice as late each time, up to 512 rounds (ProbeSchedule).
#include <algorithm>

#include "framework/decoding/bases/acceptance_estimate.h"
#include "framework/decoding/bases/loss_limit.h"
#include "framework/decoding/bases/sequence_states.h"

namespace foretell::policies::length {
namespace {

struct HfScheduleOptions {
  int num_assistant_tokens = 20;
  std::string schedule = "heuristic";
  int floor = 1;
  void declare(Parameters& p) {
    p.add("num_assistant_tokens", num_assistant_tokens, "tokens of the first draft, as far as the drafter can",
          {.min = 1, .max = 4096, .aliases = {"num_speculative_tokens"}});
    p.add("num_assistant_tokens_schedule", schedule, "how the number changes",
          {.choices = {"constant", "heuristic", "heuristic_transient"}, .aliases = {"schedule"}});
    p.add("floor", floor, "the number never falls below; 0 leaves a drafter alone that never helps",
          {.min = 0, .max = 4096});
  }
};

class HfSchedulePolicy final : public DraftPolicy {
 public:
  using Options = HfScheduleOptions;
  HfSchedulePolicy(const Options& options, const BuildContext&)
      : options_(options), shared_{options.num_assistant_tokens} {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    sequences_.begin_round(batch, [this] { return Schedule{options_.num_assistant_tokens}; });
    for (std::size_t i = 0; i < budgets.size(); ++i) {
      Schedule& schedule = schedule_of(i);
      schedule.tokens = std::min(schedule.tokens, std::max(budgets[i].depth, options_.floor));
      budgets[i].depth = schedule.tokens > 0 ? schedule.tokens : schedule.probes.due() ? 1 : 0;
    }
  }

  void observe(std::span<const RoundRecord> records) override {
    if (options_.schedule == "constant") return;
    for (std::size_t i = 0; i < records.size(); ++i)
      if (records[i].drafted > 0) adapt(schedule_of(i), records[i]);
  }

 private:
  struct Schedule {
    int tokens;
    bases::ProbeSchedule probes = bases::ProbeSchedule();
  };

  Schedule& schedule_of(std::size_t place) {
    return options_.schedule == "heuristic_transient" ? *sequences_.round()[place] : shared_;
  }

  void adapt(Schedule& schedule, const RoundRecord& record) const {
    const bool whole = record.accepted == record.depth && !observed_run(record).rejected;
    if (schedule.tokens > 0)
      schedule.tokens = whole ? schedule.tokens + 2 : std::max(options_.floor, schedule.tokens - 1);
    else if (whole)
      schedule.tokens = 1;
    if (record.depth == 1 && options_.floor == 0) schedule.probes.answer(whole);
  }

  Options options_;
  Schedule shared_;
  bases::SequenceStates<Schedule> sequences_;
};

FORETELL_REGISTER(
    DraftPolicy, HfSchedulePolicy, "hf_schedule",
    {.summary =
         "longer after a draft that was accepted whole, shorter after any other: Hugging Face's heuristic schedules",
     .stateful = true,
     .also_known_as = {"heuristic", "num_assistant_tokens_schedule"}});

}  // namespace
}  // namespace foretell::policies::length
