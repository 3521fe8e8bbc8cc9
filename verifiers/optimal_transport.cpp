// The optimal-transport verifier: at every node the coupling of the drafted set with the target's distribution that
// accepts most (SpecTr's linear program, Sun et al. 2023, arXiv 2310.15141; framework/sampling/optimal_transport.h).
//
// It solves a linear program at each visited node, so it is for small vocabularies (or distributions that top-k has cut
// short): the yardstick for others.
#include <algorithm>
#include <vector>

#include "framework/api/rejection_walk.h"
#include "framework/sampling/optimal_transport.h"

namespace foretell::verifiers {
namespace {

class OptimalTransportVerifier final : public WalkVerifier {
 public:
  using Options = NoOptions;
  OptimalTransportVerifier(const Options&, const BuildContext&) {}

  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions&) const override {
    if (form.tree && !form.independent && !form.without_replacement)
      return "it needs draws from one distribution; for chosen tokens sample_then_match is optimal";
    if (form.several_distributions) return "it needs draws from one distribution; the draft comes from several";
    return std::nullopt;
  }

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    const auto proposals = draft.proposals(at);
    const DraftDistribution& drawn = draft.distribution(proposals.front().distribution);
    const Distribution& p = scores.distribution(at);
    if (p.is_point_mass()) return match(draft, at, p.mode());
    const Coupling coupling =
        optimal_coupling(p, drawn.q, static_cast<int>(proposals.size()), drawn.kind != Draws::WithoutReplacement);

    std::vector<Token> set;
    for (const Proposal& proposal : proposals) set.push_back(draft.node(proposal.node).token);
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    const auto found =
        std::find_if(coupling.sets.begin(), coupling.sets.end(), [&](const DraftedSet& s) { return s.tokens == set; });
    FORETELL_CHECK(found != coupling.sets.end(), "{} proposals that their distribution cannot have drawn",
                   proposals.size());

    std::vector<double> chances = coupling.flow[static_cast<std::size_t>(found - coupling.sets.begin())];
    double taken = 0;
    for (const double chance : chances) taken += chance;
    chances.push_back(std::max(found->probability - taken, 0.0));
    const std::size_t choice = rng.pick(chances);
    if (choice < set.size()) return accept(*draft.child(at, set[choice]));
    // Where everything was matched, only rounding leads here.
    const bool left = std::any_of(coupling.rest.begin(), coupling.rest.end(), [](double mass) { return mass > 0; });
    return end_with((left ? Distribution::dense(coupling.rest) : p).draw(rng));
  }
};

FORETELL_REGISTER(
    Verifier, OptimalTransportVerifier, "optimal_transport",
    {.summary = "the best coupling of a node's draws with the target, by linear programming; small vocabularies",
     .lossless = true,
     .paper = {"Sun et al.", 2023, "2310.15141"},
     .also_known_as = {"OTM"}});

}  // namespace
}  // namespace foretell::verifiers
