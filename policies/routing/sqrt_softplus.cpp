// Experts scored by the square root of a softplus, as configurations of DeepSeek-V4 name it (`scoring_func:
// sqrtsoftplus`).
//
// score = sqrt(log(1 + exp(logit))): positive like a sigmoid, without its upper bound. The k highest of score + bias
// are chosen; weights are the scores, divided by their sum and multiplied by `scale`; the bias is the checkpoint's and
// does not enter them. Groups of experts are not used. A row is routed by itself; no state.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct SqrtSoftplusOptions {
  std::optional<int> k;
  std::optional<double> scale;
  bool renormalise = true;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    p.add("scale", scale, "what weights are multiplied with; none: as in the checkpoint",
          {.min = 0, .max = 1e3, .aliases = {"routed_scaling_factor"}});
    p.add("renormalise", renormalise, "whether the weights of a row sum to one before they are scaled",
          {.aliases = {"norm_topk_prob"}});
  }
};

class SqrtSoftplusRouter final : public Router {
 public:
  using Options = SqrtSoftplusOptions;
  SqrtSoftplusRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing{.per_row = options_.k.value_or(context.rule.experts_per_token)};
    const double scale = options_.scale.value_or(context.rule.scale);
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = scores_of(rows.row(row, context.rule.experts));
      std::vector<double> wanted = scores;
      for (std::size_t i = 0; i < context.selection_bias.size(); ++i) wanted[i] += context.selection_bias[i];
      const std::vector<int> chosen = best_experts(wanted, routing.per_row);
      double sum = 0;
      for (const int expert : chosen) sum += scores[static_cast<std::size_t>(expert)];
      // Logits below -1400 leave no score at all: nothing is divided by zero.
      const double factor = options_.renormalise && sum > 0 ? scale / sum : scale;
      for (const int expert : chosen) {
        routing.experts.push_back(expert);
        routing.weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(expert)] * factor));
      }
    }
    return routing;
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k.value_or(rule.experts_per_token), rule.experts);
  }

 private:
  static std::vector<double> scores_of(std::span<const float> logits) {
    std::vector<double> scores(logits.begin(), logits.end());
    for (double& z : scores) z = std::sqrt(std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))));
    return scores;
  }

  Options options_;
};

FORETELL_REGISTER(Router, SqrtSoftplusRouter, "sqrt_softplus",
                  {.summary = "experts scored by the square root of a softplus", .also_known_as = {"sqrtsoftplus"}});

}  // namespace
}  // namespace foretell::policies::routing
