// Which shapes a model can be inflated to, and what its config.json becomes.
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/inflate.h"

namespace foretell::formats {
namespace {

void check_kind(const ModelConfig& config, const std::string& name) {
  const char* reason = nullptr;
  if (config.norm != NormKind::Rms) reason = "its LayerNorm subtracts a mean over the width";
  if (config.ternary) reason = "ternary layers divide by the width of what they read";
  if (config.naming == WeightNaming::Phi3) reason = "its projections are fused";
  if (config.qk_norm != QkNorm::None) reason = "its queries and keys have norms of their own";
  if (config.moe.experts > 0) reason = "it is a mixture of experts";
  if (!config.full_layers.empty()) reason = "only some of its layers have a sliding window";
  if (reason != nullptr)
    fail("{}: {} model cannot be inflated: {}; known: llama, mistral, qwen2", name, with_article(config.family),
         reason);
}

void check_sizes(const ModelConfig& small, const ModelConfig& shape, const std::string& name, const std::string& like) {
  struct Size {
    const char* key;
    int small, large;
  };
  for (const Size& size : {Size{"hidden_size", small.hidden_size, shape.hidden_size},
                           {"num_hidden_layers", small.num_layers, shape.num_layers},
                           {"intermediate_size", small.intermediate_size, shape.intermediate_size},
                           {"vocab_size", small.vocab_size, shape.vocab_rows()}}) {
    if (size.large < size.small)
      fail("{}: '{}' is {}, smaller than the {} of {}", like, size.key, size.large, size.small, name);
  }
  if (small.head_dim != shape.head_dim) {
    fail(
        "{}: 'head_dim' is {}, that of {} is {}: they must be equal, rotary angles and the scale of attention depend "
        "on it",
        like, shape.head_dim, name, small.head_dim);
  }
  if (shape.tie_embeddings && !small.tie_embeddings)
    fail("{}: 'tie_word_embeddings' is true, but {} has an output matrix of its own", like, name);
}

}  // namespace

HeadPlaces place_heads(const ModelConfig& small, const ModelConfig& large, const std::string& name,
                       const std::string& like) {
  const int group = small.group_size(), room = large.group_size();
  const int copies = (group + room - 1) / room;
  if (copies * small.num_kv_heads > large.num_kv_heads) {
    fail("{}: its {} with {} each have no place for the {} with {} each of {}", like,
         counted(large.num_kv_heads, "key head"), counted(room, "query head"), counted(small.num_kv_heads, "key head"),
         counted(group, "query head"), name);
  }
  HeadPlaces places{{}, std::vector<std::optional<int>>(static_cast<std::size_t>(large.num_kv_heads))};
  std::size_t place = 0;
  for (int key = 0; key < small.num_kv_heads; ++key) {
    for (int copy = 0; copy < copies; ++copy) places.key_source[place++] = key;
    for (int query = 0; query < group; ++query) places.query.push_back(key * copies * room + query);
  }
  return places;
}

ModelConfig inflated_config(const ModelConfig& small, const ModelConfig& shape, const std::string& name,
                            const std::string& like) {
  check_kind(small, name);
  check_kind(shape, like);
  check_sizes(small, shape, name, like);
  ModelConfig large = small;
  large.hidden_size = shape.hidden_size;
  large.num_layers = shape.num_layers;
  large.num_heads = shape.num_heads;
  large.num_kv_heads = shape.num_kv_heads;
  large.intermediate_size = shape.intermediate_size;
  large.padded_vocab.reset();
  if (shape.vocab_rows() > small.vocab_size) large.padded_vocab = shape.vocab_rows();
  large.norm_eps = small.norm_eps * small.hidden_size / shape.hidden_size;
  large.tie_embeddings = shape.tie_embeddings;
  if (shape.dtype) large.dtype = shape.dtype;
  if (!large.inflated_from) {
    large.inflated_from =
        fmt::format("{} ({}, width {}, {} over {}, feed-forward {}, vocabulary {})", name,
                    counted(small.num_layers, "layer"), small.hidden_size, counted(small.num_heads, "head"),
                    counted(small.num_kv_heads, "key head"), small.intermediate_size, small.vocab_size);
  }
  return large;
}

}  // namespace foretell::formats
