// Experts choose rows (Zhou et al. 2022, arXiv 2202.09368).
//
// Each expert takes the rows of a forward that it has the highest softmax for, ceil(rows * capacity_factor / experts)
// of them; of equal ones the first. A row may be taken by any number of experts, or by none and pass by its residual;
// its weights are the softmax. A row depends on all rows of its forward, those of other sequences too: lossy for
// drafts, and after training such a model has rows of another kind beside each other than in it. The checkpoint's
// scale, biases and groups are not used. No state.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct ExpertChoiceOptions {
  double capacity_factor = 2;
  void declare(Parameters& p) {
    p.add("capacity_factor", capacity_factor, "experts of a row on average", {.min = 1e-6, .max = 1e6});
  }
};

class ExpertChoiceRouter final : public Router {
 public:
  using Options = ExpertChoiceOptions;
  ExpertChoiceRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    const auto width = static_cast<std::size_t>(experts), count = static_cast<std::size_t>(rows.rows);
    std::vector<std::vector<double>> by_expert(width);
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, experts), GateScore::Softmax);
      for (std::size_t i = 0; i < width; ++i) by_expert[i].push_back(scores[i]);
    }
    Routing routing{.per_row = experts,
                    .experts = std::vector<int>(count * width, -1),
                    .weights = std::vector<float>(count * width)};
    const double share = std::ceil(rows.rows * options_.capacity_factor / experts);
    const int capacity = static_cast<int>(std::min(share, static_cast<double>(rows.rows)));
    for (std::size_t i = 0; i < width; ++i)
      for (const int row : best_experts(by_expert[i], capacity)) {
        const std::size_t entry = static_cast<std::size_t>(row) * width + i;
        routing.experts[entry] = static_cast<int>(i);
        routing.weights[entry] = static_cast<float>(by_expert[i][static_cast<std::size_t>(row)]);
      }
    return routing;
  }
  bool row_independent() const override { return false; }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, ExpertChoiceRouter, "expert_choice",
                  {.summary = "experts choose the rows that they have the highest scores for",
                   .paper = {"Zhou et al.", 2022, "2202.09368"}});

}  // namespace
}  // namespace foretell::policies::routing
