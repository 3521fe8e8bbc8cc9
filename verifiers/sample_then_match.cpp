// Draws the target's token first and keeps the draft as far as it has that token.
//
// Lossless whatever the draft was made from, because the set of proposals does not depend on the draw: the draw itself
// is what is emitted. A node is passed with probability sum of p over its proposals, which for chosen tokens is the
// best there is and for drawn ones less than rejection reaches. Needs no distribution of the draft and no residual. The
// drawn token must also be the correction: drawing again would be the nucleus bias.
#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

class SampleThenMatch final : public WalkVerifier {
 public:
  using Options = NoOptions;
  SampleThenMatch(const Options&, const BuildContext&) {}

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    return match(draft, at, scores.distribution(at).draw(rng));
  }
};

FORETELL_REGISTER(
    Verifier, SampleThenMatch, "sample_then_match",
    {.summary = "draws the target's token and keeps the draft as far as it has it; best for chosen tokens",
     .lossless = true,
     .acceptance = AcceptanceRule::Matching});

}  // namespace
}  // namespace foretell::verifiers
