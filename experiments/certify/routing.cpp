#include "experiments/certify/routing.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/certify/random_model.h"
#include "experiments/certify/ruled_decoding.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/text.h"
#include "framework/model/experts.h"

namespace foretell::certify {
namespace {

constexpr int kVocab = kRuledVocab, kSequences = kRuledSequences, kTexts = 24;

// Kinds of experts: a router may be made for one of them.
constexpr std::string_view kConfigs[] = {
    R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 24,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 16,
        "max_position_embeddings": 256, "num_local_experts": 8, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "torch_dtype": "float32"})",
    R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 32,
        "intermediate_size": 48, "moe_intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": 16, "max_position_embeddings": 256, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "norm_topk_prob": true,
        "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "first_k_dense_replace": 1,
        "q_lora_rank": null, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "float32"})",
    R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 24,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 16,
        "max_position_embeddings": 256, "num_local_experts": 6, "num_experts_per_tok": 2, "foretell_zero_experts": 1,
        "foretell_copy_experts": 1, "foretell_constant_experts": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "torch_dtype": "float32"})"};

// Rows as three sequences bring them: two drafts, a chain and a tree, and a part of a prompt.
struct Rows {
  std::vector<float> logits;
  std::vector<int> positions;
  std::vector<Token> tokens;
  std::vector<int> parents{-1, 0, 1, 2, 3, -1, 5, 5, 6, 6, 7, -1, 11, 12, 13};
  std::vector<RoutedItem> items;
  int experts;

  Rows(int experts, std::uint64_t seed) : experts(experts) {
    items = {{0, 5, true}, {5, 6, true}, {11, 4, false}};
    for (int row = 0; row < count(); ++row) {
      for (int expert = 0; expert < experts; ++expert) {
        const int place = row * experts + expert;
        // Coarse, so that ties occur.
        logits.push_back(std::round(4 * normal_at(seed, static_cast<std::uint64_t>(place))) / 2);
      }
      positions.push_back(20 + row);
      tokens.push_back(static_cast<Token>(mix64(seed + static_cast<std::uint64_t>(row)) % kVocab));
    }
  }
  int count() const { return items.back().first + items.back().rows; }

  // Rows [first, first + rows) as one sequence's.
  Routing route(const Router& router, const RouterContext& context, const RoutedItem& item, int first, int rows) const {
    const auto from = static_cast<std::size_t>(first), size = static_cast<std::size_t>(rows);
    RoutedItem own = item;
    own.first = 0;
    own.rows = rows;
    std::vector<int> follows(parents.begin() + first, parents.begin() + first + rows);
    for (int& row : follows) row = row < first ? -1 : row - first;
    const auto part = [from, size](const auto& all) { return std::span(all).subspan(from, size); };
    const auto width = static_cast<std::size_t>(experts);
    return router.route({rows, std::span(logits).subspan(from * width, size * width), part(positions), part(tokens),
                         follows, std::span(&own, 1)},
                        context);
  }
};

using RowExperts = std::map<int, float>;

RowExperts experts_of(const Routing& routing, int row) {
  RowExperts out;
  for (int i = row * routing.per_row; i < (row + 1) * routing.per_row; ++i)
    if (const int expert = routing.experts.at(static_cast<std::size_t>(i)); expert >= 0)
      out[expert] = routing.weights.at(static_cast<std::size_t>(i));
  return out;
}

std::string in_words(const RowExperts& experts) {
  std::string out;
  for (const auto& [expert, weight] : experts)
    out += fmt::format("{}{}: {:.4g}", out.empty() ? "" : ", ", expert, weight);
  return out.empty() ? "none" : out;
}

// How a row's experts depend on what is routed with it; none if they do not.
Complaint routing_complaint(const Router& router, const RouterContext& context, RouterRow& found) {
  for (int text = 0; text < kTexts; ++text) {
    const Rows rows(context.rule.experts, 71 + static_cast<std::uint64_t>(text));
    const Routing all =
        router.route({rows.count(), rows.logits, rows.positions, rows.tokens, rows.parents, rows.items}, context);
    const auto differs = [&](const Routing& part, int first, int count, const char* how) -> Complaint {
      for (int row = 0; row < count; ++row) {
        const RowExperts here = experts_of(part, row), there = experts_of(all, first + row);
        if (here != there)
          return fmt::format("row {} of {} rows goes to experts {{{}}} in a batch of {}, to {{{}}} {}", first + row,
                             rows.count(), in_words(there), counted(kSequences, "sequence"), in_words(here), how);
      }
      return std::nullopt;
    };
    for (const RoutedItem& item : rows.items) {
      if (auto why = differs(rows.route(router, context, item, item.first, item.rows), item.first, item.rows,
                             "with its own sequence alone"))
        return why;
      for (int row = item.first; row < item.first + item.rows; ++row)
        if (auto why = differs(rows.route(router, context, item, row, 1), row, 1, "alone")) return why;
    }
    found.rows += rows.count();
  }
  return std::nullopt;
}

}  // namespace

RouterRow certify_router(const std::string& name,
                         const std::function<std::shared_ptr<const Router>(const BuildContext&)>& make) {
  return tested<RouterRow>(name, [&](RouterRow& row) {
    for (const std::string_view config : kConfigs) {
      const auto model = random_model(std::string(config), 17);
      const std::shared_ptr<const Router> router = make({.vocab = kVocab, .target = model});
      row.says_independent = router->row_independent();
      const ExpertRule experts = model::expert_rule(model->config().moe);
      if (const auto why = router->unsupported_reason(experts)) {
        row.reason = *why;
        continue;
      }
      Complaint complaint = routing_complaint(*router, {1, experts, {}}, row);
      if (!complaint) complaint = ruled_decoding_complaint(model, {.router = router}, row.exercise);
      return judge(row, complaint, row.exercise.missing(true));
    }
  });
}

std::vector<RouterRow> certify_routers(const std::string& router) {
  return certify_rules<Router>(router, "--router", {}, certify_router);
}

}  // namespace foretell::certify
