// The k experts of the highest scores (Shazeer et al. 2017, arXiv 1701.06538; k = 1: Fedus et al. 2021).
//
// Whatever is not given is as in the checkpoint, biases and groups of experts too, so that without any parameter this
// is the checkpoint's own rule. `softmax: after` takes the softmax over the chosen experts' logits alone, as Mixtral's
// code does: up to rounding the same as `before` with `renormalise`. With other k the chosen experts' weights have
// another sum unless they are renormalised, and the checkpoint was trained with the one that it has.
// No state; a row is routed by itself.
#include <algorithm>
#include <utility>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct TopKOptions {
  std::optional<int> k;
  std::string softmax = "before";
  std::string renormalise = "checkpoint";
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    p.add("softmax", softmax, "over all experts before they are chosen, or after over those that were",
          {.choices = {"before", "after"}});
    p.add("renormalise", renormalise, "whether the weights of a row sum to one",
          {.choices = {"checkpoint", "true", "false"}, .aliases = {"norm_topk_prob"}});
  }
};

class TopKRouter final : public Router {
 public:
  using Options = TopKOptions;
  TopKRouter(Options options, const BuildContext&) : options_(std::move(options)) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    ExpertRule rule = context.rule;
    rule.experts_per_token = options_.k.value_or(rule.experts_per_token);
    if (options_.renormalise != "checkpoint") rule.normalised = options_.renormalise == "true";
    Routing routing = route_by_rule(rows, context, rule);
    if (options_.softmax == "after") weigh_chosen(rows, rule, routing);
    return routing;
  }
  bool row_independent() const override { return true; }

  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    const int k = options_.k.value_or(rule.experts_per_token);
    const int eligible = rule.experts / rule.groups * rule.groups_kept;
    if (k > eligible)
      return fmt::format("k: {} of {} experts{}", k, eligible, rule.groups > 1 ? " in the groups that are kept" : "");
    if (options_.softmax == "after" && rule.score != GateScore::Softmax)
      return "softmax: this checkpoint scores its experts by a sigmoid each";
    return std::nullopt;
  }

 private:
  static void weigh_chosen(const RouterRows& rows, const ExpertRule& rule, Routing& routing) {
    for (int row = 0; row < rows.rows; ++row) {
      const std::size_t first = static_cast<std::size_t>(row) * static_cast<std::size_t>(routing.per_row);
      const std::span<const float> logits = rows.row(row, rule.experts);
      std::vector<float> chosen;
      chosen.reserve(static_cast<std::size_t>(routing.per_row));
      for (int i = 0; i < routing.per_row; ++i)
        chosen.push_back(logits[static_cast<std::size_t>(routing.experts[first + static_cast<std::size_t>(i)])]);
      const std::vector<double> weights = gate_scores(chosen, GateScore::Softmax);
      std::transform(weights.begin(), weights.end(), routing.weights.begin() + static_cast<std::ptrdiff_t>(first),
                     [&](double weight) { return static_cast<float>(weight * rule.scale); });
    }
  }

  Options options_;
};

FORETELL_REGISTER(Router, TopKRouter, "top_k",
                  {.summary = "the k experts of the highest scores",
                   .paper = {"Shazeer et al.", 2017, "1701.06538"},
                   .also_known_as = {"sparsely gated MoE"}});

}  // namespace
}  // namespace foretell::policies::routing
