// All experts with a positive logit, weighted by it (ReMoE, Wang et al. 2024, arXiv 2412.14711).
//
// weight = max(0, logit): no softmax and no number of experts; how many a row takes is what training with an L1 term
// made of its gate. `most` bounds them by the highest logits. A row without a positive logit has none and passes by its
// residual. On a checkpoint that was trained with a softmax the weights have another scale. The checkpoint's scale,
// biases and groups are not used. A row is routed by itself; no state.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct ReMoeOptions {
  int most = 0;
  void declare(Parameters& p) {
    p.add("most", most, "experts of a row at most; 0: no bound", {.min = 0, .max = 1 << 16});
  }
};

class ReMoeRouter final : public Router {
 public:
  using Options = ReMoeOptions;
  ReMoeRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    Routing routing{.per_row = options_.most > 0 ? std::min(options_.most, experts) : experts};
    for (int row = 0; row < rows.rows; ++row) {
      const std::span<const float> logits = rows.row(row, experts);
      for (const int expert : best_experts(std::vector<double>(logits.begin(), logits.end()), routing.per_row)) {
        const float weight = logits[static_cast<std::size_t>(expert)];
        routing.experts.push_back(weight > 0 ? expert : -1);
        routing.weights.push_back(std::max(weight, 0.0f));
      }
    }
    return routing;
  }
  bool row_independent() const override { return true; }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, ReMoeRouter, "remoe",
                  {.summary = "all experts with a positive logit, weighted by it",
                   .paper = {"Wang et al.", 2024, "2412.14711"},
                   .also_known_as = {"ReLU routing"}});

}  // namespace
}  // namespace foretell::policies::routing
