/// @file
/// Which experts a row goes through in a mixture of experts, and how much each counts.
///
/// Contract: a router is constant and may be shared by sequences. The checkpoint's own rule is the default; another one
/// (`pipeline.target.router`, or `router` of the drafter `self`) changes the model's distribution unless it chooses
/// alike. Routing is computed in float32 or better from logits that do not depend on the rows beside them.
///
/// row_independent(): a row's routing depends on nothing but that row, so that it is the same alone, in a batch and in
/// a draft tree. A target whose router is not row-independent has no one distribution that a draft could be verified
/// against: a pipeline with it is reported as lossy. `foretell certify --router` tests the claim.
///
/// Includes no LibTorch.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/core/registry.h"
#include "framework/core/types.h"

namespace foretell {

/// How logits of the gate become scores of experts.
enum class GateScore {
  Softmax,       ///< over all experts
  Sigmoid,       ///< of each expert
  SqrtSoftplus,  ///< sqrt(log(1 + exp(logit))) of each expert: positive, without an upper bound
};

/// The checkpoint's experts and its own rule for them.
struct ExpertRule {
  int experts = 0;                       ///< of a layer
  int experts_per_token = 0;             ///< that a row goes through
  GateScore score = GateScore::Softmax;  ///< of the gate's logits
  bool normalised = false;               ///< the weights of a row's experts sum to one
  double scale = 1;                      ///< what the weights are multiplied with afterwards
  int groups = 1;       ///< experts are chosen within the best groups, by the sum of a group's two best scores
  int groups_kept = 1;  ///< how many groups a row's experts may come from
  /// @{
  /// Experts without matrices (MoE++), the last ones of a layer in this order: such that give nothing, such that give
  /// the row itself, and such that give a mix of the row and a learned vector.
  int zero = 0, copy = 0, constant = 0;
  /// @}
};

/// The rows of one sequence in a forward.
struct RoutedItem {
  int first = 0;        ///< its first row
  int rows = 0;         ///< how many
  bool scored = false;  ///< the rows are the last committed token and its draft, which are verified; else a prompt, or
                        ///< rows of a drafter
};

/// What the rows of one forward bring.
struct RouterRows {
  int rows = 0;                            ///< of all sequences
  std::span<const float> logits;           ///< [rows, experts]: the products with the checkpoint's gate
  std::span<const int> positions = {};     ///< in the text, one a row
  std::span<const Token> tokens = {};      ///< one a row; -1 where it is not known (rows that enter as states)
  std::span<const int> parents = {};       ///< by row the row that it follows; -1: none of these
  std::span<const RoutedItem> items = {};  ///< in the order of their rows
  /// The logits of one row.
  std::span<const float> row(int index, int experts) const {
    return logits.subspan(static_cast<std::size_t>(index) * static_cast<std::size_t>(experts),
                          static_cast<std::size_t>(experts));
  }
};

/// Where rows are routed.
struct RouterContext {
  int layer;                              ///< of the model, from 0
  const ExpertRule& rule;                 ///< the checkpoint's own
  std::span<const float> selection_bias;  ///< [experts] added to scores for the choice alone; empty if there is none
};

/// The experts of rows.
struct Routing {
  int per_row = 0;                  ///< entries of a row
  std::vector<int> experts = {};    ///< [rows, per_row], distinct in a row; -1: none
  std::vector<float> weights = {};  ///< [rows, per_row]
};

/// Sends rows to experts.
class Router : public Strategy {
 public:
  /// The experts of all rows in one layer of a forward.
  virtual Routing route(const RouterRows& rows, const RouterContext& context) const = 0;
  /// Whether a row's routing depends on that row alone.
  virtual bool row_independent() const = 0;
  /// Why this rule cannot be used with such experts ("k: 9 of 8 experts"); none if it can.
  virtual std::optional<std::string> unsupported_reason(const ExpertRule&) const { return std::nullopt; }
};

/// Scores of one row's logits, in float64.
std::vector<double> gate_scores(std::span<const float> logits, GateScore score);

/// The `count` experts of the highest scores, best first; of equal scores the lower expert.
std::vector<int> best_experts(std::span<const double> scores, int count);

/// Routes each row by itself as `rule` says: experts of the highest score with the context's bias, weighted by their
/// scores without it. With the checkpoint's own rule this is what the checkpoint does.
Routing route_by_rule(const RouterRows& rows, const RouterContext& context, const ExpertRule& rule);

/// Appends the experts of one row to `routing`: chosen as `rule` says among those that are allowed, by expert. Its
/// groups are not asked. Entries for which none is allowed are -1.
void route_allowed(const RouterRows& rows, int row, const RouterContext& context, ExpertRule rule,
                   const std::vector<bool>& allowed, Routing& routing);

/// Why rows cannot take `k` of so many experts, in the words of a router's key `k`; none if they can.
std::optional<std::string> too_many_experts(int k, int experts);

/// @cond
template <>
Registry<Router>& Registry<Router>::instance();
template <>
const char* Registry<Router>::kind();
template <>
std::unique_ptr<Router> Registry<Router>::guard(const PluginStrategy& who, std::unique_ptr<Router> strategy);
/// @endcond

}  // namespace foretell
