// One expert a row, and no more rows for an expert than its capacity (Switch Transformer, Fedus et al. 2021, arXiv
// 2101.03961).
//
// The weight is the softmax over all experts, not renormalised. An expert takes ceil(rows / experts * capacity_factor)
// rows of a forward, the first ones; a row that finds its expert full has none, and passes by its residual. So a row
// depends on those beside it: lossy for drafts. A forward of few rows has a capacity of one. `capacity_factor: 0` has
// no bound, and rows are independent. Deviation: rows of all sequences of a forward share the capacity, as in a
// training batch; the checkpoint's scale, biases and groups are not used. No state.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct SwitchOptions {
  double capacity_factor = 2;
  void declare(Parameters& p) {
    p.add("capacity_factor", capacity_factor, "rows of an expert beside an even share; 0: no bound",
          {.min = 0, .max = 1e6, .aliases = {"eval_capacity_factor"}});
  }
};

class SwitchRouter final : public Router {
 public:
  using Options = SwitchOptions;
  SwitchRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    std::vector<int> taken(static_cast<std::size_t>(experts));
    const double share = static_cast<double>(rows.rows) / experts;
    const double capacity = options_.capacity_factor > 0 ? std::ceil(share * options_.capacity_factor) : rows.rows;
    Routing routing{.per_row = 1};
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, experts), GateScore::Softmax);
      const int best = best_experts(scores, 1).front();
      const bool fits = taken[static_cast<std::size_t>(best)]++ < capacity;
      routing.experts.push_back(fits ? best : -1);
      routing.weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(best)]));
    }
    return routing;
  }
  bool row_independent() const override { return options_.capacity_factor == 0; }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, SwitchRouter, "switch",
                  {.summary = "one expert a row, and a capacity for each expert",
                   .paper = {"Fedus et al.", 2021, "2101.03961"},
                   .also_known_as = {"Switch Transformer"}});

}  // namespace
}  // namespace foretell::policies::routing
