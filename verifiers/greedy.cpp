// Exact match: a drafted token is accepted if it is the target's most probable one (Stern et al. 2018, arXiv
// 1811.03115). Asks for nothing but the argmax of visited nodes.
#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

class GreedyVerifier final : public WalkVerifier {
 public:
  using Options = NoOptions;
  GreedyVerifier(const Options&, const BuildContext&) {}

  std::optional<std::string> unsupported_reason(const DraftForm&, const SamplingOptions& sampling) const override {
    if (sampling.greedy()) return std::nullopt;
    return fmt::format(
        "it emits the most probable token, which is no sample at temperature {}; lossless there: rejection, block, "
        "traversal",
        sampling.temperature);
  }

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng&) const override {
    return match(draft, at, scores.argmax(at));
  }
};

FORETELL_REGISTER(Verifier, GreedyVerifier, "greedy",
                  {.summary = "accepts what equals the target's argmax; temperature 0 only",
                   .lossless = true,
                   .paper = {"Stern et al.", 2018, "1811.03115"},
                   .also_known_as = {"exact match"},
                   .taxonomy = {.xia2024 = "greedy decoding"}});

}  // namespace
}  // namespace foretell::verifiers
