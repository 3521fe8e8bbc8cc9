// SpecTr's K-SEQ: k independent draws from one distribution are tested in order, each with probability min(1, p / (rho
// q)), with one rho in [1, k] for all of them (Sun et al. 2023, arXiv 2310.15141).
//
//   beta(rho) = sum over x of min(p(x) / rho, q(x));  rho solves 1 - (1 - beta)^k = rho beta
//   after k rejections: norm(p - min(q, p / rho) (1 - (1 - beta)^k) / beta)
//
// With one draw rho is 1 and this is rejection.
#include <cmath>
#include <vector>

#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

constexpr int kBisections = 60;

double covered(const Distribution& p, const Distribution& q, double rho) {
  double sum = 0;
  p.for_each([&](Token t, double mass) { sum += std::min(mass / rho, q[t]); });
  return sum;
}

double any_of(double beta, int draws) { return 1 - std::pow(1 - beta, draws); }

// The left side minus the right side of rho's equation is not negative at 1 and not positive at k.
double solve_rho(const Distribution& p, const Distribution& q, int draws) {
  if (draws == 1) return 1;
  double low = 1, high = draws;
  for (int i = 0; i < kBisections && low < high; ++i) {
    const double middle = (low + high) / 2, beta = covered(p, q, middle);
    (any_of(beta, draws) > middle * beta ? low : high) = middle;
  }
  return (low + high) / 2;
}

Distribution correction(const Distribution& p, const Distribution& q, double rho, int draws) {
  const double beta = covered(p, q, rho);
  if (beta <= 0) return p;
  const double share = any_of(beta, draws) / beta;
  std::vector<Token> tokens;
  std::vector<double> weights;
  double sum = 0;
  p.for_each([&](Token t, double mass) {
    tokens.push_back(t);
    weights.push_back(std::max(mass - std::min(q[t], mass / rho) * share, 0.0));
    sum += weights.back();
  });
  return sum > 1e-12 ? Distribution::sparse(p.vocab(), std::move(tokens), std::move(weights)) : p;
}

class SpecTrVerifier final : public WalkVerifier {
 public:
  using Options = NoOptions;
  SpecTrVerifier(const Options&, const BuildContext&) {}

  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions&) const override {
    if (!form.tree) return std::nullopt;
    if (form.without_replacement)
      return "it needs independent draws (draft with replacement: true); the draft is drawn without replacement";
    if (!form.independent) return "it needs independent draws from one distribution; the draft's tokens are chosen";
    if (form.several_distributions)
      return "it needs independent draws from one distribution; the draft comes from several";
    return std::nullopt;
  }

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const auto proposals = draft.proposals(at);
    const Distribution& p = scores.distribution(at);
    const Distribution& q = draft.distribution(proposals.front().distribution).q;
    const int draws = static_cast<int>(proposals.size());
    const double rho = solve_rho(p, q, draws);
    for (const Proposal& proposal : proposals) {
      const Token token = draft.node(proposal.node).token;
      const double mass =
          rho * draft.distribution(proposal.distribution)
                    .q[token];  // the node's one distribution, or at temperature 0 a point mass of its own
      if (rng.bernoulli(mass > 0 ? p[token] / mass : 0.0)) return accept(proposal.node);
    }
    return end_with(correction(p, q, rho, draws).draw(rng));
  }
};

FORETELL_REGISTER(Verifier, SpecTrVerifier, "spectr",
                  {.summary = "SpecTr's K-SEQ: independent draws of one distribution, tested with one common factor",
                   .lossless = true,
                   .paper = {"Sun et al.", 2023, "2310.15141"},
                   .also_known_as = {"K-SEQ"}});

}  // namespace
}  // namespace foretell::verifiers
