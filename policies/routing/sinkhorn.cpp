// Experts chosen by a plan that gives every expert the same share of a forward's rows (S-BASE, Clark et al. 2022, arXiv
// 2202.01169: optimal transport by Sinkhorn's iteration).
//
// plan = diag(d0) exp(logits) diag(d1) whose rows sum to 1 / rows and whose columns sum to 1 / experts, iterated until
// d1 changes by less than `tolerance` on average. The k highest of a row's plan are chosen; its weights are those of
// the logits: a sigmoid for one expert, a softmax over all for more. A row depends on all rows of its forward: lossy
// for drafts. The plan of a single row is even and says nothing: `balance: false` chooses by the logits, which is how
// such models are used after training. The checkpoint's scale, biases and groups are not used. No state.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell::policies::routing {
namespace {

constexpr int kMostIterations = 1000;

struct SinkhornOptions {
  int k = 1;
  bool balance = true;
  double tolerance = 1e-4;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through", {.min = 1, .max = 1 << 16, .aliases = {"top_k"}});
    p.add("balance", balance, "whether experts are chosen by the plan, or by the logits");
    p.add("tolerance", tolerance, "mean change of a column's factor at which the iteration ends",
          {.min = 1e-12, .max = 1});
  }
};

class SinkhornRouter final : public Router {
 public:
  using Options = SinkhornOptions;
  SinkhornRouter(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const int experts = context.rule.experts;
    const std::vector<double> wanted =
        options_.balance ? plan(rows, experts) : std::vector<double>(rows.logits.begin(), rows.logits.end());
    const GateScore score = options_.k == 1 ? GateScore::Sigmoid : GateScore::Softmax;
    Routing routing{.per_row = options_.k};
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, experts), score);
      const auto first = static_cast<std::size_t>(row) * static_cast<std::size_t>(experts);
      for (const int expert :
           best_experts(std::span(wanted).subspan(first, static_cast<std::size_t>(experts)), options_.k)) {
        routing.experts.push_back(expert);
        routing.weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(expert)]));
      }
    }
    return routing;
  }
  bool row_independent() const override { return !options_.balance; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k, rule.experts);
  }

 private:
  std::vector<double> plan(const RouterRows& rows, int experts) const {
    const auto width = static_cast<std::size_t>(experts), count = static_cast<std::size_t>(rows.rows);
    std::vector<double> kernel;
    // A row's factor absorbs its highest logit, so that nothing overflows.
    for (int row = 0; row < rows.rows; ++row) {
      const std::span<const float> own = rows.row(row, experts);
      const double highest = std::ranges::max(own);
      for (const float logit : own) kernel.push_back(std::exp(logit - highest));
    }
    std::vector<double> of_row(count, 1), of_column(width, 1);
    double change = 1;
    for (int i = 0; i < kMostIterations && change >= options_.tolerance; ++i) {
      for (std::size_t row = 0; row < count; ++row) {
        double sum = 0;
        for (std::size_t j = 0; j < width; ++j) sum += of_column[j] * kernel[row * width + j];
        of_row[row] = 1 / (static_cast<double>(count) * std::max(sum, kSmallest));
      }
      change = 0;
      for (std::size_t j = 0; j < width; ++j) {
        double sum = 0;
        for (std::size_t row = 0; row < count; ++row) sum += of_row[row] * kernel[row * width + j];
        const double next = 1 / (static_cast<double>(width) * std::max(sum, kSmallest));
        change += std::abs(next - of_column[j]) / static_cast<double>(width);
        of_column[j] = next;
      }
    }
    for (std::size_t i = 0; i < kernel.size(); ++i) kernel[i] *= of_row[i / width] * of_column[i % width];
    return kernel;
  }

  static constexpr double kSmallest = 1e-300;
  Options options_;
};

FORETELL_REGISTER(Router, SinkhornRouter, "sinkhorn",
                  {.summary = "experts chosen by a plan that gives each the same share of a forward's rows",
                   .paper = {"Clark et al.", 2022, "2202.01169"},
                   .also_known_as = {"S-BASE"}});

}  // namespace
}  // namespace foretell::policies::routing
