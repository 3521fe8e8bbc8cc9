// A trained model padded with zeros to a larger shape, so that real acceptance can be measured at the cost of a larger
// model.
//
// Contract: the inflated model computes the same function; its logits equal the small model's to rounding (1e-4 in
// float32), and ids that padding adds do not exist outside of it (config.json: vocab_valid). What the function depends
// on (rotary positions, activation, biases, context, stop tokens) stays the small model's; only sizes, the dtype
// and whether embeddings are tied come from the shape. config.json says "inflated_from". How each size grows:
//   width        new elements of the residual stream stay zero. RMSNorm then takes its mean over more elements, H'
//   instead of H, so with eps' = eps H / H'
//                and gain' = gain sqrt(H / H') it gives the same: x gain' / sqrt(|x|^2 / H' + eps') = x gain /
//                sqrt(|x|^2 / H + eps)
//   layers       new layers add zero to the stream; the old ones are spread evenly between them, so that an exit after
//   half of the layers comes after
//                half of what is computed
//   heads        new heads have no output. Query heads keep their order; where a key head serves fewer of them than
//   before, it is copied feed-forward new rows of gate and up meet zero columns of down
// The size of a head must be equal: rotary angles and the scale of attention depend on it. RMSNorm only: LayerNorm
// subtracts a mean. Torch-free.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"

namespace foretell::formats {

struct HeadPlaces {
  std::vector<int> query;                      // by the small model's query head: its place in the large one
  std::vector<std::optional<int>> key_source;  // by the large model's key head: whose copy it is; none: zeros
};

// An Error that says which size is in the way if there is no such model. `name` and `like` are what messages call the
// two.
HeadPlaces place_heads(const ModelConfig& small, const ModelConfig& large, const std::string& name,
                       const std::string& like);
// Where an old layer stands among the new ones.
int place_of_layer(int layer, const ModelConfig& small, const ModelConfig& large);

// By index in the large model the index in the small one; none: zeros.
using PaddedIndex = std::vector<std::optional<std::int64_t>>;
struct PaddedAxes {
  PaddedIndex width, feed_forward, vocab, query, key;
};
PaddedAxes padded_axes(const ModelConfig& small, const ModelConfig& large, const HeadPlaces& places);
// By the name of an attention's or MLP's matrix the axes of its rows and columns; none for other names.
struct PartAxes {
  std::string_view part;  // of a tensor's name
  PaddedIndex PaddedAxes::*rows;
  PaddedIndex PaddedAxes::*columns;
};
const PartAxes* axes_of_part(std::string_view tensor);

// Where one tensor of the large model comes from.
struct PaddedTensor {
  const StoredTensor* small = nullptr;  // null: zeros
  const PaddedIndex* rows = nullptr;
  const PaddedIndex* columns = nullptr;  // null: a vector
  float factor = 1;
};
// Writes its values into zeros.
void fill_padded(const PaddedTensor& tensor, StoredType type, std::span<std::byte> out);

ModelConfig inflated_config(const ModelConfig& small, const ModelConfig& shape, const std::string& name,
                            const std::string& like);

struct InflateOptions {
  std::filesystem::path model;    // the small model's folder
  std::filesystem::path like;     // a config.json of the shape
  std::filesystem::path out_dir;  // receives config.json, tokenizer and weights
  std::optional<std::string> dtype =
      {};  // "float32", "bfloat16" or "float16"; without it the shape's, else the model's
};
void inflate(const InflateOptions& options);

}  // namespace foretell::formats
