// Lenience: rejection against lenience * q instead of q, so a token is accepted with probability min(1, p / (l q)) and
// corrected from norm(max(p - l q, 0)); no token becomes more probable than p / l (Leviathan et al. 2022, arXiv
// 2211.17192, appendix A.5). At temperature 0 a token is accepted if the model gives it at least l times the
// probability of the best one.
#include <cmath>

#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

struct LenientOptions {
  double lenience = 0.5;
  void declare(Parameters& p) {
    p.add("lenience", lenience, "l: 1 is exact, less accepts more", {.min = 1e-6, .max = 1});
  }
};

class LenientVerifier final : public RejectionWalk {
 public:
  using Options = LenientOptions;
  LenientVerifier(const Options& options, const BuildContext&)
      : RejectionWalk(options.lenience), slack_(std::log(options.lenience)) {}

 private:
  bool accepts_outright(const DraftTree& draft, NodeId at, const Proposal& proposal, Scores& scores) const override {
    if (!scores.distribution(at).is_point_mass()) return false;
    const auto logits = scores.logits(at);
    return logits[draft.node(proposal.node).token] >= logits[scores.argmax(at)] + slack_;
  }

  double slack_;  // log l: probabilities differ by a factor where logits differ by a sum
};

FORETELL_REGISTER(Verifier, LenientVerifier, "lenient",
                  {.summary = "rejection against a share of q: accepts more, bounded bias",
                   .lossless = false,
                   .needs_logits = true,
                   .paper = {"Leviathan et al.", 2022, "2211.17192"},
                   .also_known_as = {"lenience"}});

}  // namespace
}  // namespace foretell::verifiers
