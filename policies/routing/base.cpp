// The expert with the highest logit, weighted by its sigmoid (BASE layers, Lewis et al. 2021, arXiv 2103.16716).
//
// In training the paper assigns tokens to experts in a balanced way; at inference it takes each token's best expert,
// which is what this is. `sinkhorn` balances the rows of a forward. The checkpoint's scale, biases and groups are not
// used. A row is routed by itself; no state.
#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct BaseOptions {
  void declare(Parameters&) {}
};

class BaseRouter final : public Router {
 public:
  using Options = BaseOptions;
  BaseRouter(const Options&, const BuildContext&) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    // Not the sigmoids are compared: those of high logits are equal.
    Routing routing{.per_row = 1};
    for (int row = 0; row < rows.rows; ++row) {
      const std::span<const float> own = rows.row(row, context.rule.experts);
      const int best = best_experts(std::vector<double>(own.begin(), own.end()), 1).front();
      const float logit = own[static_cast<std::size_t>(best)];
      routing.experts.push_back(best);
      routing.weights.push_back(static_cast<float>(gate_scores(std::span(&logit, 1), GateScore::Sigmoid).front()));
    }
    return routing;
  }
  bool row_independent() const override { return true; }
};

FORETELL_REGISTER(Router, BaseRouter, "base",
                  {.summary = "the expert with the highest logit, weighted by its sigmoid",
                   .paper = {"Lewis et al.", 2021, "2103.16716"},
                   .also_known_as = {"BASE layers"}});

}  // namespace
}  // namespace foretell::policies::routing
