// Fuzzy speculative decoding: a token is accepted outright where target and draft say nearly the same, that is where
// the divergence of their distributions is at most a threshold; elsewhere rejection decides (Holsman et al. 2025, arXiv
// 2502.20704).
//
// At temperature 0 both distributions are point masses and it is exact.
#include <cmath>

#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

struct FuzzyOptions {
  std::string divergence = "js";
  double threshold = 0.1;
  void declare(Parameters& p) {
    p.add("divergence", divergence,
          "of the target's and the draft's distribution: Jensen-Shannon, Kullback-Leibler (both in nats), total "
          "variation",
          {.choices = {"js", "kl", "tvd"}});
    p.add("threshold", threshold, "accepted outright up to this divergence; 0 is exact", {.min = 0});
  }
};

// sum of a log(a / b); infinite where b has no mass for a.
double kl(const Distribution& a, const auto& b) {
  double sum = 0;
  a.for_each([&](Token t, double mass) { sum += mass > 0 ? mass * std::log(mass / b(t)) : 0.0; });
  return sum;
}

double divergence(const Distribution& p, const Distribution& q, const std::string& kind) {
  if (kind == "tvd") return 1 - overlap(p, q);
  if (kind == "kl") return kl(p, [&](Token t) { return q[t]; });
  const auto middle = [&](Token t) { return (p[t] + q[t]) / 2; };
  return (kl(p, middle) + kl(q, middle)) / 2;
}

class FuzzyVerifier final : public RejectionWalk {
 public:
  using Options = FuzzyOptions;
  FuzzyVerifier(const Options& options, const BuildContext&) : options_(options) {}

 private:
  bool accepts_outright(const DraftTree& draft, NodeId at, const Proposal& proposal, Scores& scores) const override {
    return divergence(scores.distribution(at), draft.distribution(proposal.distribution).q, options_.divergence) <=
           options_.threshold;
  }

  Options options_;
};

FORETELL_REGISTER(Verifier, FuzzyVerifier, "fuzzy",
                  {.summary = "accepts outright where target and draft nearly agree, else rejection",
                   .lossless = false,
                   .paper = {"Holsman et al.", 2025, "2502.20704"},
                   .also_known_as = {"FSD", "fuzzy speculative decoding"}});

}  // namespace
}  // namespace foretell::verifiers
