// Stops after a drafted token that the draft itself holds for unlikely (Hugging Face's assistant_confidence_threshold;
// llama.cpp's p_min; Kangaroo, arXiv 2404.18911, with the highest probability in place of the token's).
//
// The token stays in the draft: leaving it out because of what it is would change the distribution of the output. At
// temperature 0 probabilities are those at temperature 1. In a tree the most probable path decides. Drafters that have
// no distributions are never stopped. Deviation: the original can learn the threshold from rounds; here it is given
// (`adaedl` has one that adapts).
#include "framework/api/policy.h"

namespace foretell::policies::length {
namespace {

struct ConfidenceOptions {
  double threshold = 0.4;
  void declare(Parameters& p) {
    p.add("assistant_confidence_threshold", threshold, "the draft ends after a token of lower probability",
          {.min = 0, .max = 1, .aliases = {"threshold", "draft_p_min", "p_min"}});
  }
};

class ConfidencePolicy final : public DraftPolicy {
 public:
  using Options = ConfidenceOptions;
  ConfidencePolicy(const Options& options, const BuildContext&) : options_(options) {}
  void plan(std::span<const PolicyView>, std::span<DraftBudget>) override {}
  bool wants_probs() const override { return true; }
  bool should_continue(const DraftStep& step) override { return step.last_probability >= options_.threshold; }

 private:
  Options options_;
};

FORETELL_REGISTER(DraftPolicy, ConfidencePolicy, "confidence",
                  {.summary = "ends the draft after a token that the draft model itself holds for unlikely",
                   .also_known_as = {"assistant_confidence_threshold", "p_min"}});

}  // namespace
}  // namespace foretell::policies::length
