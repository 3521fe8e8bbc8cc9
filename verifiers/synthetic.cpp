// Forced acceptance: a drafted token is accepted with a given probability, whatever it is. Measures what a drafter of that quality would bring; the text
// means nothing.
#include <algorithm>
#include <vector>

#include "framework/decode/walk_verifier.h"

namespace foretell {
namespace {

struct SyntheticOptions {
  double rate = 0.7;
  std::vector<double> rates;
  void declare(Parameters& p) {
    p.add("acceptance_rate", rate, "probability that the first proposal of a node is accepted",
          {.min = 0, .max = 1, .aliases = {"synthetic_acceptance_rate", "rate"}});
    p.add("acceptance_rates", rates, "the same by depth, given that all before were accepted; the last entry holds for deeper ones",
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
    if (rng.bernoulli(rate_at(draft.depth(first)))) return accept(first);
    return end_with(scores.law(at).draw(rng));
  }

  double rate_at(int depth) const {
    if (options_.rates.empty()) return options_.rate;
    return options_.rates[std::min(options_.rates.size(), static_cast<std::size_t>(depth)) - 1];
  }

  Options options_;
};

FORETELL_REGISTER(Verifier, SyntheticVerifier, "synthetic",
                  {.summary = "accepts with a given probability, whatever was drafted: for measuring speed", .lossless = false});

}  // namespace
}  // namespace foretell
