// Experts taken one after another, each weighted among those that come near it (SparseMixer-v2 as GRIN uses it, Liu et
// al. 2024, arXiv 2409.12136; Phi-3.5-MoE's gate).
//
// The expert with the highest logit is taken; its weight is its softmax over the experts that are not yet taken and
// whose logits are near: highest - logit <= 2 * jitter * max(|logit|, highest). Then the next one among the rest, with
// a softmax of its own, so a row's weights do not sum to one. What the paper adds for training (sampling, its gradient)
// has no part here. The checkpoint's scale, biases and groups are not used. A row is routed by itself; no state.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

struct SparseMixerOptions {
  std::optional<int> k;
  double jitter = 0.01;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through; none: as in the checkpoint",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    p.add("jitter", jitter, "half the relative distance at which a logit is near the highest",
          {.min = 0, .max = 10, .aliases = {"router_jitter_noise"}});
  }
};

class SparseMixerRouter final : public Router {
 public:
  using Options = SparseMixerOptions;
  SparseMixerRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing{.per_row = options_.k.value_or(context.rule.experts_per_token)};
    for (int row = 0; row < rows.rows; ++row) {
      const std::span<const float> own = rows.row(row, context.rule.experts);
      const std::vector<double> logits(own.begin(), own.end());
      const std::vector<int> order = best_experts(logits, routing.per_row);
      std::vector<bool> taken(logits.size());
      for (const int expert : order) {
        routing.experts.push_back(expert);
        routing.weights.push_back(static_cast<float>(weight_of(expert, logits, taken)));
        taken[static_cast<std::size_t>(expert)] = true;
      }
    }
    return routing;
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k.value_or(rule.experts_per_token), rule.experts);
  }

 private:
  double weight_of(int expert, const std::vector<double>& logits, const std::vector<bool>& taken) const {
    const double highest = logits[static_cast<std::size_t>(expert)];
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const bool near = highest - logits[i] <= 2 * options_.jitter * std::max(std::abs(logits[i]), highest);
      if (near && !taken[i]) sum += std::exp(logits[i] - highest);
    }
    return 1 / std::max(sum, 1.0);  // a negative highest logit without jitter is not near itself
  }

  Options options_;
};

FORETELL_REGISTER(Router, SparseMixerRouter, "sparsemixer",
                  {.summary = "experts one after another, each weighted among those that come near it",
                   .paper = {"Liu et al.", 2024, "2409.12136"},
                   .also_known_as = {"GRIN", "SparseMixer-v2"}});

}  // namespace
}  // namespace foretell::policies::routing
