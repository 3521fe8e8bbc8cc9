// As few experts as have a probability mass of p together (dynamic routing, Huang et al. 2024, arXiv 2403.07652).
//
// Experts are taken by falling softmax until their sum exceeds p, the one that does so included; weights are the
// softmax itself, not renormalised. A row that the gate is sure of takes one expert. If rounding keeps the sum below p,
// all are taken. The checkpoint's scale, biases and groups are not used. A row is routed by itself; no state.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct TopPOptions {
  double p = 0.4;
  int most = 0;
  void declare(Parameters& parameters) {
    parameters.add("p", p, "probability mass of a row's experts", {.min = 0, .max = 1, .aliases = {"threshold"}});
    parameters.add("most", most, "experts of a row at most; 0: no bound", {.min = 0, .max = 1 << 16});
  }
};

class TopPRouter final : public Router {
 public:
  using Options = TopPOptions;
  TopPRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    Routing routing{.per_row = options_.most > 0 ? std::min(options_.most, experts) : experts};
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, experts), GateScore::Softmax);
      double sum = 0;
      for (const int expert : best_experts(scores, routing.per_row)) {
        const double score = scores[static_cast<std::size_t>(expert)];
        routing.experts.push_back(sum > options_.p ? -1 : expert);
        routing.weights.push_back(sum > options_.p ? 0 : static_cast<float>(score));
        sum += score;
      }
    }
    return routing;
  }
  bool row_independent() const override { return true; }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, TopPRouter, "top_p",
                  {.summary = "as few experts as have a probability mass of p together",
                   .paper = {"Huang et al.", 2024, "2403.07652"},
                   .also_known_as = {"dynamic routing"}});

}  // namespace
}  // namespace foretell::policies::routing
