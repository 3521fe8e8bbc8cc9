// The k best experts by logits with noise (Shazeer et al. 2017, arXiv 1701.06538).
//
// Of logit + noise * N(0, 1) the k highest are chosen; weights are the softmax over these alone, noise included. The
// noise is a function of seed, layer, position and expert, so a row is routed alike when it is drafted and when it is
// verified; `noise: 0` is how such a gate is used after training. Deviation: the paper's noise has a trained deviation
// for each row and expert, which no published checkpoint brings. The checkpoint's scale, biases and groups are not
// used. A row is routed by itself; no state.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/router.h"
#include "framework/core/counter_normal.h"

namespace foretell::policies::routing {
namespace {

struct NoisyTopKOptions {
  std::optional<int> k;
  double noise = 1;
  int seed = 0;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    p.add("noise", noise, "standard deviation of what is added to a logit", {.min = 0, .max = 1e3});
    p.add("seed", seed, "of the noise", {.min = 0});
  }
};

class NoisyTopKRouter final : public Router {
 public:
  using Options = NoisyTopKOptions;
  NoisyTopKRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    ExpertRule rule = {.experts = experts,
                       .experts_per_token = options_.k.value_or(context.rule.experts_per_token),
                       .normalised = true};
    std::vector<float> noisy(rows.logits.begin(), rows.logits.end());
    for (int row = 0; row < rows.rows; ++row) {
      const int position = rows.positions.empty() ? 0 : rows.positions[static_cast<std::size_t>(row)];
      const std::uint64_t key =
          mix64(mix64(static_cast<std::uint64_t>(options_.seed)) + mix64(static_cast<std::uint64_t>(context.layer))) ^
          static_cast<std::uint64_t>(position);
      const auto own = static_cast<std::size_t>(row) * static_cast<std::size_t>(experts);
      for (std::size_t i = 0; i < static_cast<std::size_t>(experts); ++i)
        noisy[own + i] += static_cast<float>(options_.noise) * normal_at(mix64(key), i);
    }
    // A softmax over the chosen ones is the softmax over all, divided by their sum.
    return route_by_rule({.rows = rows.rows, .logits = noisy}, {context.layer, rule, {}}, rule);
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k.value_or(rule.experts_per_token), rule.experts);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, NoisyTopKRouter, "noisy_top_k",
                  {.summary = "the k best experts by logits with noise",
                   .paper = {"Shazeer et al.", 2017, "1701.06538"},
                   .also_known_as = {"noisy top-k gating"}});

}  // namespace
}  // namespace foretell::policies::routing
