#include "experiments/analysis/model_shape.h"

namespace foretell::analysis {

cost::ModelShape model_shape(const formats::ModelConfig& config, double number_bytes) {
  const formats::MoeConfig& moe = config.moe;
  const bool sparse = moe.experts > 0;
  return {.vocab = config.vocab_rows(),
          .hidden = config.hidden_size,
          .layers = config.num_layers,
          .heads = config.num_heads,
          .kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .intermediate = sparse ? moe.expert_size : config.intermediate_size,
          .gated_mlp = config.gated_mlp,
          .tied_head = config.tie_embeddings,
          .experts = sparse ? moe.experts : 1,
          .active_experts = sparse ? moe.experts_per_token : 1,
          .shared_experts = sparse ? static_cast<double>(moe.shared_size) / moe.expert_size : 0,
          .weight_bytes = number_bytes,
          .head_bytes = number_bytes,
          .cache_bytes = number_bytes};
}

}  // namespace foretell::analysis
