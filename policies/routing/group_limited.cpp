// The k best experts of the best groups (device-limited routing, DeepSeek-V2, DeepSeek-AI 2024, arXiv 2405.04434;
// node-limited routing, DeepSeek-V3, arXiv 2412.19437).
//
// Experts are cut into `groups` of equal size, in order; a group's score is its best expert's (`score: best`, V2) or
// the sum of its two best ones (`score: two_best`, V3), with the checkpoint's bias. The `groups_kept` best groups stay,
// and the checkpoint's rule chooses k experts in them, weights as it says. A row is routed by itself; no state.
#include <algorithm>
#include <utility>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct GroupLimitedOptions {
  int groups = 4, groups_kept = 2;
  std::optional<int> k;
  std::string score = "two_best";
  void declare(Parameters& p) {
    p.add("groups", groups, "equal parts that a layer's experts are cut into",
          {.min = 1, .max = 1 << 16, .aliases = {"n_group"}});
    p.add("groups_kept", groups_kept, "groups that a row's experts may come from",
          {.min = 1, .max = 1 << 16, .aliases = {"topk_group"}});
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    p.add("score", score, "a group's score: its best expert's, or the sum of its two best",
          {.choices = {"best", "two_best"}});
  }
};

class GroupLimitedRouter final : public Router {
 public:
  using Options = GroupLimitedOptions;
  GroupLimitedRouter(Options options, const BuildContext&) : options_(std::move(options)) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    ExpertRule rule = context.rule;
    rule.experts_per_token = options_.k.value_or(rule.experts_per_token);
    Routing routing{.per_row = rule.experts_per_token};
    for (int row = 0; row < rows.rows; ++row)
      route_allowed(rows, row, context, rule, best_groups(rows.row(row, rule.experts), context), routing);
    return routing;
  }
  bool row_independent() const override { return true; }

  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    const int experts = rule.experts, groups = options_.groups, size = experts / groups;
    if (size * groups != experts || size < 1)
      return fmt::format("groups: {} experts cannot be cut into {} equal groups", experts, groups);
    if (options_.groups_kept > groups) return fmt::format("groups_kept: {} of {} groups", options_.groups_kept, groups);
    if (size < 2 && options_.score == "two_best") return "score: groups of one expert have no two best ones";
    return too_many_experts(options_.k.value_or(rule.experts_per_token), size * options_.groups_kept);
  }

 private:
  // By expert whether its group is one of the best.
  std::vector<bool> best_groups(std::span<const float> logits, const RouterContext& context) const {
    std::vector<double> wanted = gate_scores(logits, context.rule.score);
    for (std::size_t i = 0; i < context.selection_bias.size(); ++i) wanted[i] += context.selection_bias[i];
    const std::size_t size = wanted.size() / static_cast<std::size_t>(options_.groups);
    const std::size_t counted = options_.score == "best" ? 1 : 2;
    std::vector<double> scores;
    for (std::size_t first = 0; first < wanted.size(); first += size) {
      const auto members = wanted.begin() + static_cast<std::ptrdiff_t>(first);
      std::partial_sort(members, members + static_cast<std::ptrdiff_t>(counted),
                        members + static_cast<std::ptrdiff_t>(size), std::greater<>());
      scores.push_back(counted == 1 ? members[0] : members[0] + members[1]);
    }
    std::vector<bool> allowed(wanted.size());
    for (const int group : best_experts(scores, options_.groups_kept))
      for (std::size_t i = 0; i < size; ++i) allowed[static_cast<std::size_t>(group) * size + i] = true;
    return allowed;
  }

  Options options_;
};

FORETELL_REGISTER(Router, GroupLimitedRouter, "group_limited",
                  {.summary = "the k best experts of the best groups",
                   .paper = {"DeepSeek-AI", 2024, "2405.04434"},
                   .also_known_as = {"device-limited routing", "node-limited routing"}});

}  // namespace
}  // namespace foretell::policies::routing
