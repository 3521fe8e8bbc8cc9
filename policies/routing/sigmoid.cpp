// Experts scored by a sigmoid each, chosen with a bias that keeps their load even (loss-free balancing, Wang et al.
// 2024, arXiv 2408.15664; DeepSeek-V3, DeepSeek-AI 2024, arXiv 2412.19437).
//
// The k highest of sigmoid(logit) + bias are chosen; the bias is the checkpoint's (zero where it has none) and does not
// enter the weights, which are the sigmoids, divided by their sum and multiplied by `scale`. Groups of experts are kept
// as the checkpoint's rule says. A row is routed by itself; no state.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct SigmoidOptions {
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

class SigmoidRouter final : public Router {
 public:
  using Options = SigmoidOptions;
  SigmoidRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    ExpertRule rule = context.rule;
    rule.score = GateScore::Sigmoid;
    rule.normalised = options_.renormalise;
    rule.scale = options_.scale.value_or(rule.scale);
    rule.experts_per_token = options_.k.value_or(rule.experts_per_token);
    return route_by_rule(rows, context, rule);
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k.value_or(rule.experts_per_token), rule.experts / rule.groups * rule.groups_kept);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, SigmoidRouter, "sigmoid",
                  {.summary = "experts scored by a sigmoid each, chosen with the checkpoint's balancing bias",
                   .paper = {"Wang et al.", 2024, "2408.15664"},
                   .also_known_as = {"auxiliary-loss-free", "noaux_tc"}});

}  // namespace
}  // namespace foretell::policies::routing
