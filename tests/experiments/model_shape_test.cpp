#include "experiments/analysis/model_shape.h"

#include <algorithm>

#include "framework/formats/weight_list.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

// Numbers in the matrices and tables of a checkpoint, position tables aside.
double listed_parameters(const ModelConfig& config) {
  double total = 0;
  for (const WeightSpec& spec : weight_list(config)) {
    const bool matrix =
        spec.kind == WeightKind::Matrix || spec.kind == WeightKind::Embedding || spec.kind == WeightKind::Ternary;
    if (matrix && spec.name != "transformer.wpe.weight")
      total += static_cast<double>(spec.shape[0]) * static_cast<double>(spec.shape[1]);
  }
  return total;
}

}  // namespace

TEST_CASE("a shape has the parameters of its checkpoint") {
  ModelConfig llama;
  llama.vocab_size = 50;
  llama.hidden_size = 24;
  llama.num_layers = 3;
  llama.num_heads = 6;
  llama.num_kv_heads = 2;
  llama.head_dim = 10;
  llama.intermediate_size = 40;
  llama.context = 64;
  CHECK(parameter_count(model_shape(llama, 4)) == listed_parameters(llama));
  llama.tie_embeddings = true;
  llama.padded_vocab = 64;
  CHECK(parameter_count(model_shape(llama, 4)) == listed_parameters(llama));
  CHECK(stored_weight_bytes(model_shape(llama, 2)) == 2 * listed_parameters(llama));

  ModelConfig gpt2 = llama;
  gpt2.naming = WeightNaming::Gpt2;
  gpt2.num_heads = gpt2.num_kv_heads = 4;
  gpt2.head_dim = 6;
  gpt2.gated_mlp = false;
  CHECK(parameter_count(model_shape(gpt2, 4)) == listed_parameters(gpt2));
}
