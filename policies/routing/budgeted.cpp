// As many experts as a budget allows for a whole draft that is verified (MoE-Spec, arXiv 2602.16052; the anchor after
// AcceptMoE, arXiv 2608.02989).
//
// In each layer the scores of all rows of a draft are summed by expert, the `experts` highest sums stay, and each row
// takes its experts among these, by the checkpoint's rule. With `keep_anchor` the experts of the last committed token
// stay whatever their sums are, so what follows it is as without a draft. Groups of experts limit the anchor's choice
// and not that of the others. Prompts and rows of drafters keep the checkpoint's rule. A row depends on what was
// drafted beside it: lossy for drafts. No state.
#include <algorithm>
#include <limits>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct BudgetedOptions {
  std::optional<int> experts;
  bool keep_anchor = true;
  void declare(Parameters& p) {
    p.add("experts", experts, "of a layer, for all rows of a draft; none: half of them",
          {.min = 1, .max = 1 << 16, .aliases = {"budget"}});
    p.add("keep_anchor", keep_anchor, "whether the last committed token's own experts stay in any case");
  }
};

class BudgetedRouter final : public Router {
 public:
  using Options = BudgetedOptions;
  BudgetedRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing = route_by_rule(rows, context, context.rule);
    for (const RoutedItem& item : rows.items)
      if (item.scored && item.rows > 1) keep_budget(rows, item, context, routing);
    return routing;
  }
  bool row_independent() const override { return false; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    const int budget = budget_of(rule);
    if (budget > rule.experts) return fmt::format("experts: {} of {} experts", budget, rule.experts);
    if (budget < rule.experts_per_token)
      return fmt::format("experts: {} are fewer than the {} of one row", budget, rule.experts_per_token);
    return std::nullopt;
  }

 private:
  int budget_of(const ExpertRule& rule) const {
    return options_.experts.value_or(std::max(rule.experts / 2, rule.experts_per_token));
  }

  void keep_budget(const RouterRows& rows, const RoutedItem& item, const RouterContext& context,
                   Routing& routing) const {
    const ExpertRule& rule = context.rule;
    std::vector<double> sums(static_cast<std::size_t>(rule.experts));
    for (int row = item.first; row < item.first + item.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, rule.experts), rule.score);
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += scores[i];
    }
    const auto entry = static_cast<std::size_t>(item.first) * static_cast<std::size_t>(routing.per_row);
    const auto per_row = static_cast<std::size_t>(routing.per_row);
    if (options_.keep_anchor)
      for (std::size_t i = entry; i < entry + per_row; ++i)
        sums[static_cast<std::size_t>(routing.experts[i])] = std::numeric_limits<double>::infinity();
    std::vector<bool> kept(sums.size());
    for (const int expert : best_experts(sums, budget_of(rule))) kept[static_cast<std::size_t>(expert)] = true;
    Routing chosen{.per_row = routing.per_row};
    const int first = item.first + (options_.keep_anchor ? 1 : 0);
    for (int row = first; row < item.first + item.rows; ++row) route_allowed(rows, row, context, rule, kept, chosen);
    const auto to = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * per_row);
    std::copy(chosen.experts.begin(), chosen.experts.end(), routing.experts.begin() + to);
    std::copy(chosen.weights.begin(), chosen.weights.end(), routing.weights.begin() + to);
  }

  Options options_;
};

FORETELL_REGISTER(Router, BudgetedRouter, "budgeted",
                  {.summary = "as many experts as a budget allows for a whole draft that is verified",
                   .paper = {"MoE-Spec", 2026, "2602.16052"},
                   .also_known_as = {"expert budget"}});

}  // namespace
}  // namespace foretell::policies::routing
