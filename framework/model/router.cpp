#include "framework/model/router.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace foretell::model {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kSmallestSum = 1e-20;  // as in DeepSeek-V3's own code

void softmax(std::vector<double>& scores) {
  const double top = std::ranges::max(scores);
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
}

// The indices of the `count` largest values, in falling order.
std::vector<int> largest(std::span<const double> values, int count) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int a, int b) { return values[a] != values[b] ? values[a] > values[b] : a < b; };
  std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
  order.resize(static_cast<std::size_t>(count));
  return order;
}

class CheckpointRouter final : public Router {
 public:
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const formats::MoeConfig& moe = context.moe;
    Routing routing{moe.experts_per_token, {}, {}};
    std::vector<double> scores;
    for (int row = 0; row < rows.rows; ++row) {
      const auto logits = rows.logits.subspan(static_cast<std::size_t>(row) * moe.experts, moe.experts);
      scores.assign(logits.begin(), logits.end());
      if (moe.score == formats::MoeConfig::Score::Softmax) {
        softmax(scores);
      } else {
        for (double& score : scores) score = 1 / (1 + std::exp(-score));
      }
      choose(scores, context, routing);
    }
    return routing;
  }
  bool row_independent() const override { return true; }

 private:
  static void choose(const std::vector<double>& scores, const RouterContext& context, Routing& routing) {
    const formats::MoeConfig& moe = context.moe;
    std::vector<double> wanted = scores;
    for (std::size_t i = 0; i < context.selection_bias.size(); ++i) wanted[i] += context.selection_bias[i];
    if (moe.groups > 1) drop_groups(moe, wanted);
    const std::vector<int> chosen = largest(wanted, moe.experts_per_token);
    double sum = 0;
    for (const int expert : chosen) sum += scores[expert];
    const double scale = moe.scale / (moe.normalised ? sum + kSmallestSum : 1.0);
    for (const int expert : chosen) {
      routing.experts.push_back(expert);
      routing.weights.push_back(static_cast<float>(scores[expert] * scale));
    }
  }

  // Experts outside of the best groups can never be chosen. Some ports give them zero instead, which a negative sum of
  // score and bias loses to.
  static void drop_groups(const formats::MoeConfig& moe, std::vector<double>& wanted) {
    const int size = moe.experts / moe.groups;
    std::vector<double> group_scores;
    for (int group = 0; group < moe.groups; ++group) {
      const std::span<const double> members(wanted.data() + static_cast<std::ptrdiff_t>(group) * size,
                                            static_cast<std::size_t>(size));
      double best = kNever, second = kNever;
      for (const double score : members) {
        second = std::max(second, std::min(best, score));
        best = std::max(best, score);
      }
      group_scores.push_back(best + second);
    }
    std::vector<bool> kept(static_cast<std::size_t>(moe.groups));
    for (const int group : largest(group_scores, moe.groups_kept)) kept[static_cast<std::size_t>(group)] = true;
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if (!kept[i / static_cast<std::size_t>(size)]) wanted[i] = kNever;
  }
};

}  // namespace

const Router& checkpoint_router() {
  static const CheckpointRouter kRouter;
  return kRouter;
}

}  // namespace foretell::model
