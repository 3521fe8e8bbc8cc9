// Experts scored by the square root of a softplus, as configurations of DeepSeek-V4 name it (`scoring_func:
// sqrtsoftplus`).
//
// score = sqrt(log(1 + exp(logit))): positive like a sigmoid, without its upper bound. The k highest of score + bias
// are chosen; weights are the scores, divided by their sum and multiplied by `scale`; the bias is the checkpoint's and
// does not enter them. Groups of experts are kept as the checkpoint's rule says. A row is routed by itself; no state.
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
    ExpertRule rule = context.rule;
    rule.score = GateScore::SqrtSoftplus;
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

FORETELL_REGISTER(Router, SqrtSoftplusRouter, "sqrt_softplus",
                  {.summary = "experts scored by the square root of a softplus", .also_known_as = {"sqrtsoftplus"}});

}  // namespace
}  // namespace foretell::policies::routing
