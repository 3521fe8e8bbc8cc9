// SpecInfer's multi-step speculative sampling: the proposals of a node, each with the distribution of the draft model
// that made it, are tested by rejection in random order (Miao et al. 2023, arXiv 2305.09781).
//
// Draws without replacement are not exchangeable, so their order is not free: refused.
#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

class MultiStepVerifier final : public RejectionWalk {
 public:
  using Options = NoOptions;
  MultiStepVerifier(const Options&, const BuildContext&) {}

  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions&) const override {
    if (!form.tree || !form.without_replacement) return std::nullopt;
    return "it tests proposals in random order, which draws without replacement do not allow; draw with replacement or "
           "use rejection";
  }

 private:
  std::span<const Proposal> order(std::span<const Proposal> proposals, std::vector<Proposal>& shuffled,
                                  Rng& rng) const override {
    std::vector<Proposal> rest(proposals.begin(), proposals.end());
    while (!rest.empty()) {
      const std::size_t next = rng.pick(std::vector<double>(rest.size(), 1.0));
      shuffled.push_back(rest[next]);
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(next));
    }
    return shuffled;
  }
};

FORETELL_REGISTER(Verifier, MultiStepVerifier, "multi_step",
                  {.summary = "SpecInfer: rejection over the proposals of a node in random order",
                   .lossless = true,
                   .paper = {"Miao et al.", 2023, "2305.09781"},
                   .also_known_as = {"SpecInfer", "multi-step speculative sampling"},
                   .taxonomy = {.xia2024 = "token tree verification"}});

}  // namespace
}  // namespace foretell::verifiers
