// The router of MoE++ (Jin et al. 2024, arXiv 2410.07348): experts without matrices compete with the others, so that
// easy rows cost less.
//
// The k experts of the highest probability, of all: those with matrices and those that give nothing (zero), the row
// itself (copy) or a mix of it and a learned vector (constant). An expert that gives nothing has weight 0, and the
// weights of the others sum to one. A row is routed by itself; no state.
//
// Deviation: logits are not carried from one layer's gate to the next one's (the paper's gating residual): a gate sees
// its own layer alone.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct MoePlusPlusOptions {
  std::optional<int> k;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
  }
};

class MoePlusPlusRouter final : public Router {
 public:
  using Options = MoePlusPlusOptions;
  MoePlusPlusRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    ExpertRule rule = context.rule;
    rule.experts_per_token = options_.k.value_or(rule.experts_per_token);
    rule.normalised = false;
    rule.scale = 1;
    Routing routing = route_by_rule(rows, context, rule);
    const int zero = rule.experts - rule.zero - rule.copy - rule.constant;
    const auto per_row = static_cast<std::size_t>(routing.per_row);
    for (std::size_t first = 0; first < routing.weights.size(); first += per_row) {
      float sum = 0;
      for (std::size_t i = first; i < first + per_row; ++i) {
        if (const int expert = routing.experts[i]; expert >= zero && expert < zero + rule.zero) routing.weights[i] = 0;
        sum += routing.weights[i];
      }
      for (std::size_t i = first; sum > 0 && i < first + per_row; ++i) routing.weights[i] /= sum;
    }
    return routing;
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    if (rule.zero + rule.copy + rule.constant == 0)
      return "the checkpoint has no experts without matrices (foretell_zero_experts and its like in its config)";
    return too_many_experts(options_.k.value_or(rule.experts_per_token), rule.experts / rule.groups * rule.groups_kept);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, MoePlusPlusRouter, "moe_plus_plus",
                  {.summary = "the best of all experts, those without matrices among them",
                   .paper = {"Jin et al.", 2024, "2410.07348"},
                   .also_known_as = {"MoE++"}});

}  // namespace
}  // namespace foretell::policies::routing
