// The checkpoint's experts without those that count little beside the best one (Lu et al. 2024, arXiv 2402.14800).
//
// Of a row's experts those stay whose weight is at least beta times that of the first; the weights that stay are
// renormalised to the sum that all of them had. Deviation: the paper has a beta for each layer, the median of the
// second weight over the first on calibration text, and Mixtral's two experts; here there is one for all layers, and
// any number of experts. A row is routed by itself; no state.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct ExpertSkippingOptions {
  double beta = 0.5;
  void declare(Parameters& p) {
    p.add("beta", beta, "least weight of an expert, in those of the row's first", {.min = 0, .max = 1});
  }
};

class ExpertSkippingRouter final : public Router {
 public:
  using Options = ExpertSkippingOptions;
  ExpertSkippingRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing = route_by_rule(rows, context, context.rule);
    const auto per_row = static_cast<std::size_t>(routing.per_row);
    for (std::size_t first = 0; first < routing.experts.size(); first += per_row) skip(routing, first, per_row);
    return routing;
  }
  bool row_independent() const override { return true; }

 private:
  void skip(Routing& routing, std::size_t first, std::size_t per_row) const {
    double largest = 0, all = 0, kept = 0;
    for (std::size_t i = first; i < first + per_row; ++i) {
      largest = std::max(largest, static_cast<double>(routing.weights[i]));
      all += routing.weights[i];
    }
    for (std::size_t i = first; i < first + per_row; ++i) {
      if (routing.weights[i] < options_.beta * largest)
        routing.experts[i] = -1;
      else
        kept += routing.weights[i];
    }
    for (std::size_t i = first; i < first + per_row; ++i)
      routing.weights[i] = routing.experts[i] < 0 ? 0 : static_cast<float>(routing.weights[i] * all / kept);
  }

  Options options_;
};

FORETELL_REGISTER(Router, ExpertSkippingRouter, "expert_skipping",
                  {.summary = "the checkpoint's experts without those that count little beside the best one",
                   .paper = {"Lu et al.", 2024, "2402.14800"},
                   .also_known_as = {"dynamic expert skipping"}});

}  // namespace
}  // namespace foretell::policies::routing
