#include "framework/formats/inflate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/core/error.h"
#include "framework/formats/model_weights.h"
#include "framework/formats/stored_numbers.h"
#include "framework/io/atomic_file.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {
namespace {

PaddedIndex first_of(std::int64_t count, std::int64_t size) {
  PaddedIndex sources(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < count; ++i) sources[static_cast<std::size_t>(i)] = i;
  return sources;
}

// Elements of heads, from what each head's place holds.
PaddedIndex elements_of(const std::vector<std::optional<int>>& heads, int head_dim) {
  PaddedIndex sources;
  for (const auto& head : heads)
    for (int i = 0; i < head_dim; ++i)
      sources.push_back(head ? std::optional(std::int64_t{*head} * head_dim + i) : std::nullopt);
  return sources;
}

constexpr std::array<PartAxes, 9> kParts = {{{"embed_tokens.", &PaddedAxes::vocab, &PaddedAxes::width},
                                             {"lm_head.", &PaddedAxes::vocab, &PaddedAxes::width},
                                             {"q_proj.", &PaddedAxes::query, &PaddedAxes::width},
                                             {"k_proj.", &PaddedAxes::key, &PaddedAxes::width},
                                             {"v_proj.", &PaddedAxes::key, &PaddedAxes::width},
                                             {"o_proj.", &PaddedAxes::width, &PaddedAxes::query},
                                             {"gate_proj.", &PaddedAxes::feed_forward, &PaddedAxes::width},
                                             {"up_proj.", &PaddedAxes::feed_forward, &PaddedAxes::width},
                                             {"down_proj.", &PaddedAxes::width, &PaddedAxes::feed_forward}}};

}  // namespace

PaddedAxes padded_axes(const ModelConfig& small, const ModelConfig& large, const HeadPlaces& places) {
  std::vector<std::optional<int>> query(static_cast<std::size_t>(large.num_heads));
  for (int head = 0; head < small.num_heads; ++head)
    query[static_cast<std::size_t>(places.query[static_cast<std::size_t>(head)])] = head;
  return {.width = first_of(small.hidden_size, large.hidden_size),
          .feed_forward = first_of(small.intermediate_size, large.intermediate_size),
          .vocab = first_of(small.vocab_size, large.vocab_rows()),
          .query = elements_of(query, small.head_dim),
          .key = elements_of(places.key_source, small.head_dim)};
}

const PartAxes* axes_of_part(std::string_view tensor) {
  const auto found = std::ranges::find_if(
      kParts, [&](const PartAxes& axes) { return tensor.find(axes.part) != std::string_view::npos; });
  return found == kParts.end() ? nullptr : &*found;
}

void fill_padded(const PaddedTensor& tensor, StoredType type, std::span<std::byte> out) {
  if (tensor.small == nullptr) return;  // the writer hands out zeros
  const std::size_t in_size = bytes_of(tensor.small->type), out_size = bytes_of(type);
  const std::int64_t in_columns = tensor.columns ? tensor.small->shape[1] : 1;
  const std::size_t out_columns = tensor.columns ? tensor.columns->size() : 1;
  const auto copy = [&](std::size_t to, std::int64_t from) {
    const float value =
        read_stored(tensor.small->type, tensor.small->bytes.data() + static_cast<std::size_t>(from) * in_size);
    write_stored(type, value * tensor.factor, out.data() + to * out_size);
  };
  for (std::size_t row = 0; row < tensor.rows->size(); ++row) {
    const auto from_row = (*tensor.rows)[row];
    if (!from_row) continue;
    if (!tensor.columns) copy(row, *from_row);
    for (std::size_t column = 0; tensor.columns && column < out_columns; ++column) {
      const auto from = (*tensor.columns)[column];
      if (from) copy(row * out_columns + column, *from_row * in_columns + *from);
    }
  }
}

int place_of_layer(int layer, const ModelConfig& small, const ModelConfig& large) {
  return static_cast<int>(std::int64_t{layer} * large.num_layers / small.num_layers);
}

namespace {

class Inflater {
 public:
  Inflater(const ModelConfig& small, const ModelConfig& large, const ModelWeights& weights, const HeadPlaces& places)
      : small_(small), large_(large), weights_(weights), axes_(padded_axes(small, large, places)) {
    for (int layer = 0; layer < small.num_layers; ++layer)
      layer_at_[layer_weight_name(large.naming, place_of_layer(layer, small, large), "")] =
          layer_weight_name(small.naming, layer, "");
  }

  std::vector<NewTensor> tensors() const {
    const StoredType type = stored_type(large_.dtype);
    std::vector<NewTensor> out;
    for (const WeightSpec& spec : weight_list(large_)) {
      out.push_back({spec.name, type, spec.shape, [source = source_of(spec), type](std::span<std::byte> bytes) {
                       fill_padded(source, type, bytes);
                     }});
    }
    return out;
  }

 private:
  PaddedTensor source_of(const WeightSpec& spec) const {
    PaddedTensor source;
    source.small = weights_.find(small_name(spec.name));
    source.rows = &axes_.width;
    if (const PartAxes* axes = axes_of_part(spec.name)) {
      source.rows = &(axes_.*axes->rows);
      if (spec.shape.size() == 2) source.columns = &(axes_.*axes->columns);
    }
    if (spec.kind == WeightKind::Gain) source.factor = static_cast<float>(std::sqrt(width_ratio()));
    return source;
  }

  // Empty for a tensor that the small model does not have.
  std::string small_name(const std::string& name) const {
    if (name == "lm_head.weight" && small_.tie_embeddings) return "model.embed_tokens.weight";
    if (!name.starts_with("model.layers.")) return name;
    const std::size_t end = name.find('.', std::string_view("model.layers.").size()) + 1;
    const auto it = layer_at_.find(name.substr(0, end));
    return it == layer_at_.end() ? "" : it->second + name.substr(end);
  }

  double width_ratio() const { return static_cast<double>(small_.hidden_size) / large_.hidden_size; }

  const ModelConfig& small_;
  const ModelConfig& large_;
  const ModelWeights& weights_;
  PaddedAxes axes_;
  std::map<std::string, std::string>
      layer_at_;  // "model.layers.14." of the large model -> "model.layers.2." of the small one
};

void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer.bin", "tokenizer_config.json",
                           "special_tokens_map.json", "generation_config.json"}) {
    std::error_code ignored;
    if (std::filesystem::exists(from / name, ignored))
      io::write_file(to / name, io::MappedFile::open(from / name).bytes());
  }
}

}  // namespace

void inflate(const InflateOptions& options) {
  std::error_code ignored;
  if (std::filesystem::equivalent(options.model, options.out_dir, ignored))
    fail("{}: the inflated model would be written over the small one", options.out_dir.string());
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const ModelConfig small = with_stored_head(checkpoint, load_model_config(options.model));
  const ModelConfig shape = parse_model_config(io::MappedFile::open(options.like).text(), options.like.string());
  const auto folder_name = std::filesystem::weakly_canonical(options.model).filename().string();
  ModelConfig large = inflated_config(small, shape, folder_name, options.like.string());
  if (options.dtype) large.dtype = options.dtype;
  const ModelWeights weights(checkpoint, small);
  const Inflater inflater(small, large, weights, place_heads(small, large, folder_name, options.like.string()));
  io::make_folder(options.out_dir);
  copy_tokenizer(options.model, options.out_dir);
  write_model_config(options.out_dir, large);
  write_safetensors(options.out_dir / "model.safetensors", inflater.tensors());
}

}  // namespace foretell::formats
