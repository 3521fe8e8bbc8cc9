// Token-level rejection over chains and trees: speculative sampling and recursive rejection
// (framework/api/rejection_walk.h has the formula).
#include "framework/api/rejection_walk.h"

namespace foretell::verifiers {
namespace {

class RejectionVerifier final : public RejectionWalk {
 public:
  using Options = NoOptions;
  RejectionVerifier(const Options&, const BuildContext&) {}
};

FORETELL_REGISTER(Verifier, RejectionVerifier, "rejection",
                  {.summary = "accepts a drafted token with probability min(1, p/q), corrects from the residual",
                   .lossless = true,
                   .acceptance = AcceptanceRule::Rejection,
                   .paper = {"Leviathan et al.", 2022, "2211.17192"},
                   .also_known_as = {"speculative sampling", "modified rejection sampling"},
                   .taxonomy = {.xia2024 = "speculative sampling"}});

}  // namespace
}  // namespace foretell::verifiers
