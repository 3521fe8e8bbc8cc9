// Margin-aware acceptance: where the target hardly prefers its best token, the runner-up is as good. A drafted token
// that is the runner-up is accepted outright if the ratio of the second highest logit to the highest exceeds theta;
// elsewhere rejection decides (the rule that MARS describes, arXiv 2601.15498, by its abstract: there is no reference
// implementation to compare with).
//
// Logits have no natural zero, so the ratio is taken of positive ones only.
#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

struct MarsOptions {
  double theta = 0.9;
  void declare(Parameters& p) {
    p.add("theta", theta, "ratio of the two highest logits above which the runner-up passes; 1 is exact",
          {.min = 0, .max = 1});
  }
};

class MarsVerifier final : public RejectionWalk {
 public:
  using Options = MarsOptions;
  MarsVerifier(const Options& options, const BuildContext&) : theta_(options.theta) {}

 private:
  bool accepts_outright(const DraftTree& draft, NodeId at, const Proposal& proposal, Scores& scores) const override {
    const std::vector<Token> best = highest(scores.logits(at), 2);
    if (best.size() < 2 || draft.node(proposal.node).token != best[1]) return false;
    const double first = scores.logits(at)[best[0]], second = scores.logits(at)[best[1]];
    return second > 0 && second / first > theta_;
  }

  double theta_;
};

FORETELL_REGISTER(Verifier, MarsVerifier, "mars",
                  {.summary = "accepts the target's runner-up where its margin is small",
                   .lossless = false,
                   .needs_logits = true,
                   .paper = {"Song et al.", 2026, "2601.15498"},
                   .also_known_as = {"margin-aware verification"}});

}  // namespace
}  // namespace foretell::verifiers
