#include "experiments/analysis/model_shape.h"

namespace foretell::analysis {

cost::ModelShape model_shape(const formats::ModelConfig& config, double number_bytes) {
  return {.vocab = config.vocab_rows(),
          .hidden = config.hidden_size,
          .layers = config.num_layers,
          .heads = config.num_heads,
          .kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .intermediate = config.intermediate_size,
          .gated_mlp = config.gated_mlp,
          .tied_head = config.tie_embeddings,
          .weight_bytes = number_bytes,
          .head_bytes = number_bytes,
          .cache_bytes = number_bytes};
}

}  // namespace foretell::analysis
