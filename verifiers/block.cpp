// Block verification of a chain: decides the whole draft at once, and emits at least as many tokens in expectation as
// token-level rejection (Sun et al. 2024, arXiv 2403.10444).
//
//   w_0 = 1;  w_i = min(1, w_{i-1} p_i(x_i) / q_i(x_i))
//   S_i = sum over x of max(w_i p_{i+1}(x) - q_{i+1}(x), 0);  h_i = S_i / (S_i + 1 - w_i) for i < n, h_n = w_n
//   the longest prefix whose independent test of probability h_i succeeds is kept; then p_{n+1}, or norm(max(w p - q,
//   0)) behind a shorter prefix
//
// It needs the distributions of the whole chain, and gains only with drawn tokens: for chosen ones rejection is the
// best there is.
#include <vector>

#include "framework/api/verifier.h"

namespace foretell::verifiers {
namespace {

class BlockVerifier final : public Verifier {
 public:
  using Options = NoOptions;
  BlockVerifier(const Options&, const BuildContext&) {}

  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions&) const override {
    if (!form.tree) return std::nullopt;
    return "it verifies chains; its extension to trees is traversal";
  }

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    const std::vector<Step> steps = walk_down(draft, scores);
    for (std::size_t length = steps.size(); length > 0; --length) {
      const double w = steps[length - 1].weight;
      if (w <= 0) continue;
      if (length == steps.size()) {
        if (rng.bernoulli(w))
          return verdict(steps, length, scores.distribution(steps.back().node).draw(rng), NextKind::Bonus);
        continue;
      }
      const Excess left = excess(scores.distribution(steps[length - 1].node), *steps[length].q, w);
      const double rest = left.mass + 1 - w;
      if (rng.bernoulli(rest > 0 ? left.mass / rest : 1.0))
        return verdict(steps, length,
                       (left.distribution ? *left.distribution : scores.distribution(steps[length - 1].node)).draw(rng),
                       NextKind::Correction);
    }
    if (steps.empty()) return verdict(steps, 0, scores.distribution(kAnchor).draw(rng), NextKind::Bonus);
    return verdict(steps, 0, residual(scores.distribution(kAnchor), *steps.front().q).draw(rng), NextKind::Correction);
  }

 private:
  struct Step {
    NodeId node;
    const Distribution* q;  // that its token was drawn from
    double weight;          // w at this node
  };

  static std::vector<Step> walk_down(const DraftTree& draft, Scores& scores) {
    std::vector<Step> steps;
    double weight = 1;
    // Behind weight 0 nothing can be accepted, and no distribution is asked for.
    for (NodeId at = kAnchor; weight > 0 && !draft.proposals(at).empty(); at = steps.back().node) {
      const Proposal& proposal = draft.proposals(at).front();
      const Distribution& q = draft.distribution(proposal.distribution).q;
      const Token token = draft.node(proposal.node).token;
      weight = std::min(1.0, weight * scores.distribution(at)[token] / q[token]);
      steps.push_back({proposal.node, &q, weight});
    }
    return steps;
  }

  static Verdict verdict(const std::vector<Step>& steps, std::size_t length, Token next, NextKind kind) {
    Verdict verdict{.next = next, .kind = kind};
    for (std::size_t i = 0; i < length; ++i) verdict.accepted.push_back(steps[i].node);
    return verdict;
  }
};

FORETELL_REGISTER(Verifier, BlockVerifier, "block",
                  {.summary = "block verification: decides a chain as a whole, never worse than rejection",
                   .lossless = true,
                   .paper = {"Sun et al.", 2024, "2403.10444"},
                   .also_known_as = {"block verification"}});

}  // namespace
}  // namespace foretell::verifiers
