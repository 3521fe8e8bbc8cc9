// Forced acceptance: a drafted token is accepted with a given probability, whatever it is. Measures what a drafter of
// that quality would bring; the text means nothing.
#include "framework/api/rejection_walk.h"
#include "framework/decoding/bases/acceptance_rates.h"

namespace foretell::verifiers {
namespace {

struct SyntheticOptions {
  bases::AcceptanceRates rates = {.all = 0.7};
  void declare(Parameters& p) {
    p.add("acceptance_rate", rates.all, "probability that the first proposal of a node is accepted",
          {.min = 0, .max = 1, .aliases = {"synthetic_acceptance_rate", "rate"}});
    p.add("acceptance_rates", rates.by_depth,
          "the same by depth, given that all before were accepted; the last entry holds for deeper ones",
          {.min = 0, .max = 1, .aliases = {"rates"}});
  }
};

class SyntheticVerifier final : public WalkVerifier {
 public:
  using Options = SyntheticOptions;
  SyntheticVerifier(const Options& options, const BuildContext&) : options_(options) {}

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const NodeId first = draft.proposals(at).front().node;
    if (rng.bernoulli(options_.rates.at(draft.depth(first)))) return accept(first);
    return end_with(scores.distribution(at).draw(rng));
  }

  Options options_;
};

FORETELL_REGISTER(Verifier, SyntheticVerifier, "synthetic",
                  {.summary = "accepts with a given probability, whatever was drafted: for measuring speed",
                   .lossless = false,
                   .given_acceptance = true,
                   .needs_logits = true});  // it leaves the path that a recorded answer knows

}  // namespace
}  // namespace foretell::verifiers
