// Knows the answer and proposes it with a given rate: the ceiling of what a drafter of that quality can gain.
//
// At depth i the true token is proposed with the rate of that depth, else another one; deeper nodes follow the answer again, although
// nothing below a wrong token can be accepted. The answer is the request's reference: the same prompt's baseline, or a recorded run. Only at
// temperature 0: a sampled answer is not known in advance.
#include "framework/base/error.h"
#include "framework/decode/acceptance_rates.h"
#include "framework/decode/build_context.h"
#include "framework/decode/drafter.h"

namespace foretell {
namespace {

struct OracleOptions {
  AcceptanceRates rates = {.all = 0.8};
  int num_speculative_tokens = 4;
  void declare(Parameters& p) {
    p.add("acceptance_rate", rates.all, "probability that a drafted token is the true one", {.min = 0, .max = 1, .aliases = {"rate"}});
    p.add("acceptance_rates", rates.by_depth,
          "the same by depth, given that the draft was right so far; the last entry holds for deeper ones",
          {.min = 0, .max = 1, .aliases = {"rates"}});
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round", {.min = 1, .max = 4096});
  }
};

class OracleDrafter final : public Drafter {
 public:
  using Options = OracleOptions;
  OracleDrafter(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override { return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }
  void check(const Request& request) const override {
    if (!request.sampling.greedy())
      fail("drafter 'oracle' knows the greedy answer only: temperature is {}, expected 0", request.sampling.temperature);
    if (request.reference.empty()) fail("drafter 'oracle': request {} has no known answer (baseline or recording)", request.id);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(draft(context));
    return drafts;
  }

 private:
  DraftTree draft(const DraftContext& context) const {
    DraftTree tree(context.committed.back());
    const TokenSpan answer = context.request.reference;
    const std::size_t done = context.generated().size();
    NodeId at = kAnchor;
    for (int depth = 1; depth <= std::min(context.budget.depth, context.budget.nodes); ++depth) {
      const std::size_t next = done + static_cast<std::size_t>(depth) - 1;
      if (next >= answer.size()) break;
      const bool right = context.rng.bernoulli(options_.rates.at(depth));
      at = tree.choose(at, right ? answer[next] : (answer[next] + 1) % context.vocab, context.vocab);
    }
    return tree;
  }

  Options options_;
};

FORETELL_REGISTER(Drafter, OracleDrafter, "oracle", {.summary = "proposes the known answer with a given acceptance rate: an upper bound"});

}  // namespace
}  // namespace foretell
