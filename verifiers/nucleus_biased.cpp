// A negative control, not for use: the sampling rule that Medusa's and REST's code offered as "nucleus". Every path of
// the tree samples its own token at each of its positions and goes on while they match; the longest path wins, and
// after its mismatch another token is sampled.
//
// Drafted tokens get several chances and a mismatch does not rule its token out, so the emitted distribution leans
// towards the draft. The certificate must find it lossy.
#include <vector>

#include "framework/api/verifier.h"

namespace foretell::verifiers {
namespace {

class NucleusBiased final : public Verifier {
 public:
  using Options = NoOptions;
  NucleusBiased(const Options&, const BuildContext&) {}

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    std::vector<NodeId> longest;
    for (NodeId leaf = 1; leaf < draft.size(); ++leaf) {
      if (!draft.proposed(leaf) || !draft.proposals(leaf).empty()) continue;
      const std::vector<NodeId> matched = matching_part(draft, leaf, scores, rng);
      if (matched.size() > longest.size()) longest = matched;
    }
    const NodeId end = longest.empty() ? kAnchor : longest.back();
    const NextKind kind = draft.proposals(end).empty() ? NextKind::Bonus : NextKind::Correction;
    const Token next = scores.distribution(end).draw(rng);
    return {std::move(longest), next, kind};
  }

 private:
  static std::vector<NodeId> matching_part(const DraftTree& draft, NodeId leaf, Scores& scores, Rng& rng) {
    std::vector<NodeId> matched;
    for (const NodeId node : draft.nodes_to(leaf)) {
      if (scores.distribution(draft.node(node).parent).draw(rng) != draft.node(node).token) break;
      matched.push_back(node);
    }
    return matched;
  }
};

FORETELL_REGISTER(Verifier, NucleusBiased, "nucleus_biased",
                  {.summary = "negative control: samples anew for every path and after a mismatch; biased",
                   .lossless = false});

}  // namespace
}  // namespace foretell::verifiers
