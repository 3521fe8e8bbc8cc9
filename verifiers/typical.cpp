// Typical acceptance: a drafted token is accepted if p(x) > min(epsilon, delta exp(-H(p))) with H the entropy of the
// target's distribution in nats; the longest path of accepted tokens is kept, the more probable one among equals, and
// the next token is drawn from the tokens that would be accepted there (Cai et al. 2024, arXiv 2401.10774,
// section 2.3.1). At temperature 0 it is exact.
#include <cmath>
#include <vector>

#include "framework/api/verifier.h"

namespace foretell::verifiers {
namespace {

struct TypicalOptions {
  double epsilon = 0.09;
  double delta = 0.3;
  void declare(Parameters& p) {
    p.add("posterior_threshold", epsilon, "epsilon: a token of this probability always passes",
          {.min = 0, .max = 1, .aliases = {"epsilon"}});
    p.add("posterior_alpha", delta, "delta: scales exp(-entropy)", {.min = 0, .aliases = {"delta"}});
  }
};

class TypicalVerifier final : public Verifier {
 public:
  using Options = TypicalOptions;
  TypicalVerifier(const Options& options, const BuildContext&) : options_(options) {}

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    const NodeId end = best_end(draft, scores);
    Verdict verdict{.accepted = draft.nodes_to(end)};
    verdict.kind = draft.proposals(end).empty() ? NextKind::Bonus : NextKind::Correction;
    verdict.next = typical_part(scores.distribution(end)).draw(rng);
    return verdict;
  }

 private:
  struct Reached {
    bool accepted = false;
    double log_probability = 0;
  };

  double threshold(const Distribution& p) const {
    return std::min(options_.epsilon, options_.delta * std::exp(-p.entropy()));
  }

  // Parents come before children, so one pass over the nodes sees every accepted path.
  NodeId best_end(const DraftTree& draft, Scores& scores) const {
    std::vector<Reached> reached(draft.size());
    reached[kAnchor].accepted = true;
    NodeId best = kAnchor;
    for (NodeId node = 1; node < draft.size(); ++node) {
      const NodeId parent = draft.node(node).parent;
      if (!reached[parent].accepted || !draft.proposed(node)) continue;
      const Distribution& p = scores.distribution(parent);
      const double mass = p[draft.node(node).token];
      if (!(mass > threshold(p))) continue;
      reached[node] = {true, reached[parent].log_probability + std::log(mass)};
      const int longer = draft.depth(node) - draft.depth(best);
      if (longer > 0 || (longer == 0 && reached[node].log_probability > reached[best].log_probability)) best = node;
    }
    return best;
  }

  Distribution typical_part(const Distribution& p) const {
    const double least = threshold(p);
    std::vector<Token> tokens;
    std::vector<double> weights;
    p.for_each([&](Token t, double mass) {
      if (!(mass > least)) return;
      tokens.push_back(t);
      weights.push_back(mass);
    });
    if (tokens.empty()) return Distribution::point_mass(p.vocab(), p.mode());
    return Distribution::sparse(p.vocab(), std::move(tokens), std::move(weights));
  }

  Options options_;
};

FORETELL_REGISTER(Verifier, TypicalVerifier, "typical",
                  {.summary = "Medusa's typical acceptance: probable enough for how open the choice is",
                   .lossless = false,
                   .paper = {"Cai et al.", 2024, "2401.10774"},
                   .also_known_as = {"typical acceptance", "Medusa"}});

}  // namespace
}  // namespace foretell::verifiers
