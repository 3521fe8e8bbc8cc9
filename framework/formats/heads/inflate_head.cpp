#include "framework/formats/heads/inflate_head.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/formats/heads/eagle3_config.h"
#include "framework/formats/heads/mlp_speculator_config.h"
#include "framework/formats/inflate.h"
#include "framework/formats/model_weights.h"
#include "framework/formats/stored_numbers.h"
#include "framework/io/atomic_file.h"
#include "framework/io/json.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats::heads {
namespace {

enum class Kind { Eagle, Eagle3, Medusa, Hydra, MlpSpeculator, Redrafter };

struct StoredHead {
  std::optional<SafetensorsFile> file = {};
  std::optional<Checkpoint> checkpoint = {};
  std::string file_name = "model.safetensors";
  const StoredTensors& tensors() const { return file ? file->tensors() : checkpoint->tensors(); }
};

StoredHead open_head(const std::filesystem::path& folder) {
  for (const char* name : {"medusa_lm_head.safetensors", "hydra_lm_head.safetensors"})
    if (std::filesystem::exists(folder / name)) return {SafetensorsFile::open(folder / name), {}, name};
  return {{}, Checkpoint::open(folder)};
}

Kind kind_of(const StoredTensors& tensors, const std::string& name) {
  const auto any = [&](std::string_view part) {
    return std::ranges::any_of(tensors, [&](const auto& t) { return t.first.find(part) != std::string::npos; });
  };
  if (any("hydra_mlp.")) return Kind::Hydra;
  if (any("rnn_u.") || any("input_proj.")) return Kind::Redrafter;
  if (any("proj.0.weight") && any("ln.0.weight")) return Kind::MlpSpeculator;
  if (any("hidden_norm.weight") && any("lm_head.weight")) return Kind::Eagle3;
  if (tensors.contains("fc.weight")) return Kind::Eagle;
  if (any("0.0.linear.weight")) return Kind::Medusa;
  fail("{}: holds no head that can be inflated; known: eagle, eagle3, medusa, hydra, mlp_speculator, redrafter", name);
}

PaddedIndex unchanged(std::int64_t size) {
  PaddedIndex out(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) out[static_cast<std::size_t>(i)] = i;
  return out;
}

class HeadInflater {
 public:
  // `layers`, `large`: what the head's own decoder layers are, before and after.
  HeadInflater(Kind kind, const ModelConfig& layers, const ModelConfig& large, const PaddedAxes& axes,
               const std::optional<MlpSpeculatorConfig>& speculator, std::string name)
      : kind_(kind),
        small_(layers.hidden_size),
        large_(large.hidden_size),
        axes_(axes),
        speculator_(speculator),
        name_(std::move(name)) {}

  NewTensor tensor(const std::string& name, const StoredTensor& stored, StoredType type) const {
    check(name, stored);
    const bool matrix = stored.shape.size() == 2;
    const auto rows = std::make_shared<PaddedIndex>(rows_of(name, stored));
    const auto columns = std::make_shared<PaddedIndex>(matrix ? columns_of(name, stored) : PaddedIndex{});
    check_index(name, stored, *rows, stored.shape[0]);
    if (matrix) check_index(name, stored, *columns, stored.shape[1]);
    std::vector<std::int64_t> shape = {static_cast<std::int64_t>(rows->size())};
    if (matrix) shape.push_back(static_cast<std::int64_t>(columns->size()));
    const auto factor = static_cast<float>(factor_of(name, !matrix));
    return {name, type, shape, [=, &stored](std::span<std::byte> out) {
              fill_padded({&stored, rows.get(), matrix ? columns.get() : nullptr, factor}, type, out);
            }};
  }

 private:
  void check(const std::string& name, const StoredTensor& stored) const {
    if (stored.shape.empty() || stored.shape.size() > 2)
      fail("{}: '{}' is {}, a vector or a matrix is expected", name_, printable(name), to_string(stored.shape));
    if (stored.type != StoredType::F32 && stored.type != StoredType::F16 && stored.type != StoredType::BF16)
      fail("{}: '{}' is of {}; expected F32, F16 or BF16", name_, printable(name), name_of(stored.type));
  }
  void check_index(const std::string& name, const StoredTensor& stored, const PaddedIndex& index,
                   std::int64_t size) const {
    const auto used = std::ranges::count_if(index, [](const auto& source) { return source.has_value(); });
    const bool inside = std::ranges::all_of(index, [&](const auto& source) { return !source || *source < size; });
    if (!inside || used < size)
      fail("{}: '{}' is {}, which is not the shape that its config says", name_, printable(name),
           to_string(stored.shape));
  }

  // Elements of the width, side by side as often as they stand there.
  PaddedIndex widened(std::int64_t size) const {
    if (size % small_ != 0) return unchanged(size);
    PaddedIndex out(static_cast<std::size_t>(size / small_ * large_));
    for (std::int64_t i = 0; i < size; ++i) out[static_cast<std::size_t>(i / small_ * large_ + i % small_)] = i;
    return out;
  }
  // A speculator's own width grows with the target's where they are equal.
  bool keeps_width() const { return speculator_ && speculator_->inner != speculator_->hidden; }

  PaddedIndex rows_of(const std::string& name, const StoredTensor& stored) const {
    if (const PartAxes* axes = layer_part(name)) return axes_.*axes->rows;
    return is_output(name, stored) || keeps_width() ? unchanged(stored.shape[0]) : widened(stored.shape[0]);
  }
  PaddedIndex columns_of(const std::string& name, const StoredTensor& stored) const {
    const PartAxes* axes = layer_part(name);
    if (axes != nullptr && axes->columns != &PaddedAxes::width) return axes_.*axes->columns;
    const bool of_state = name.find("proj.0.") != std::string::npos;
    return keeps_width() && !of_state ? unchanged(stored.shape[1]) : widened(stored.shape[1]);
  }

  // Matrices of a decoder layer; others have none of its axes.
  static const PartAxes* layer_part(const std::string& name) {
    const bool inside =
        name.find("self_attn.") != std::string::npos || name.find("mlp.gate_proj") != std::string::npos ||
        name.find("mlp.up_proj") != std::string::npos || name.find("mlp.down_proj") != std::string::npos;
    return inside ? axes_of_part(name) : nullptr;
  }
  // Whose rows are tokens.
  bool is_output(const std::string& name, const StoredTensor& stored) const {
    const bool linear = name.find("linear") != std::string::npos;
    if (kind_ == Kind::MlpSpeculator)
      return name.find("emb.") != std::string::npos || name.find("head.") != std::string::npos;
    if (kind_ == Kind::Medusa) return stored.shape.size() == 2 && !linear;
    return name.find("embed_tokens") != std::string::npos || (name.find("lm_head") != std::string::npos && !linear);
  }

  // A mean of squares over more elements is smaller, and a speculator's token weighs by the root of its width.
  double factor_of(const std::string& name, bool vector) const {
    const double root = std::sqrt(static_cast<double>(small_) / static_cast<double>(large_));
    if (!speculator_) {
      const bool of_heads = name.find("q_norm") != std::string::npos || name.find("k_norm") != std::string::npos;
      return vector && name.find("norm") != std::string::npos && !of_heads ? root : 1;
    }
    if (name.find("proj.0.") != std::string::npos) return speculator_->scaled_input ? root : 1;
    const bool scaled = name.find("emb.") != std::string::npos || (vector && name.ends_with(".weight"));
    return scaled && !keeps_width() ? root : 1;
  }

  Kind kind_;
  std::int64_t small_, large_;
  const PaddedAxes& axes_;
  const std::optional<MlpSpeculatorConfig>& speculator_;
  std::string name_;
};

// The head's layers in the shape that the target has now: their own vocabulary, context and number.
ModelConfig grown_layers(const ModelConfig& layers, const ModelConfig& shape, const std::string& name,
                         const std::string& like) {
  ModelConfig own = shape;
  own.num_layers = layers.num_layers;
  own.vocab_size = layers.vocab_rows();
  own.padded_vocab.reset();
  own.tie_embeddings = layers.tie_embeddings;
  ModelConfig large = inflated_config(layers, own, name, like);
  large.padded_vocab = layers.padded_vocab;
  large.inflated_from.reset();
  return large;
}

void set_sizes(const std::filesystem::path& from, const std::filesystem::path& to,
               std::initializer_list<const char*> keys, int small, int large) {
  if (!std::filesystem::exists(from)) return;
  nlohmann::json json = io::parse_json(io::MappedFile::open(from).text(), from.string());
  for (const char* key : keys)
    for (const int times : {1, 2})
      if (json.contains(key) && json[key] == times * small) {
        json[key] = times * large;
        break;
      }
  io::write_file(to, json.dump(2) + "\n");
}

// What a head of decoder layers is made of; those of other heads are the target's.
struct HeadShape {
  ModelConfig small, large;
  std::optional<Eagle3Config> eagle3 = {};
  std::optional<MlpSpeculatorConfig> speculator = {};
};

HeadShape head_shape(Kind kind, const InflateHeadOptions& options, const ModelConfig& target, const ModelConfig& shape,
                     const ModelConfig& large) {
  const std::string name = options.head.string(), like = options.like.string();
  HeadShape out;
  if (kind == Kind::Eagle3) {
    out.eagle3 = load_eagle3_config(options.head);
    out.small = out.eagle3->layers;
  } else if (kind == Kind::Eagle) {
    out.small = load_model_config(options.head);
  } else {
    out.small = target;
    out.small.num_layers = 1;
  }
  if (kind == Kind::MlpSpeculator) out.speculator = load_mlp_speculator_config(options.head);
  if (out.small.hidden_size != target.hidden_size)
    fail("{}: its hidden size is {}, that of {} is {}", name, out.small.hidden_size, options.model.string(),
         target.hidden_size);
  out.large = grown_layers(out.small, shape, name, like);
  if (options.dtype) out.large.dtype = options.dtype;
  if (!out.eagle3) return out;
  out.eagle3->layers = out.large;
  out.eagle3->target_hidden = large.hidden_size;
  return out;
}

// The states that the head reads, by layers of the large target.
std::vector<int> moved_states(const std::vector<int>& states, const ModelConfig& target, const ModelConfig& large) {
  std::vector<int> out;
  for (const int state : states) {
    const bool end = state == target.num_layers;
    out.push_back(state == 0 ? 0 : end ? large.num_layers : place_of_layer(state - 1, target, large) + 1);
  }
  return out;
}

void write_config(Kind kind, const InflateHeadOptions& options, HeadShape& shape, const ModelConfig& target,
                  const ModelConfig& large, const StoredTensors& tensors) {
  const auto from = options.head / "config.json", to = options.out_dir / "config.json";
  const int before = target.hidden_size, after = large.hidden_size;
  if (kind == Kind::Eagle) return write_model_config(options.out_dir, shape.large);
  if (kind == Kind::Eagle3) {
    const auto fc = tensors.find("fc.weight");
    if (fc == tensors.end() || fc->second.shape.size() != 2)
      fail("{}: tensor 'fc.weight' is missing or no matrix", options.head.string());
    const auto count = static_cast<int>(fc->second.shape[1] / before);
    shape.eagle3->states =
        moved_states(read_states(*shape.eagle3, count, target.num_layers, options.head.string()), target, large);
    return io::write_file(to, eagle3_config_json(*shape.eagle3));
  }
  if (kind == Kind::MlpSpeculator) {
    shape.speculator->hidden = after;
    if (shape.speculator->inner == before) shape.speculator->inner = after;
    return io::write_file(to, mlp_speculator_config_json(*shape.speculator));
  }
  set_sizes(from, to, {"hidden_size", "exit_dim"}, before, after);
}

}  // namespace

void inflate_head(const InflateHeadOptions& options) {
  std::error_code ignored;
  if (std::filesystem::equivalent(options.head, options.out_dir, ignored))
    fail("{}: the inflated head would be written over the small one", options.out_dir.string());
  const ModelConfig target = with_stored_head(Checkpoint::open(options.model), load_model_config(options.model));
  const ModelConfig shape = parse_model_config(io::MappedFile::open(options.like).text(), options.like.string());
  const ModelConfig large = inflated_config(target, shape, options.model.string(), options.like.string());
  const StoredHead head = open_head(options.head);
  const Kind kind = kind_of(head.tensors(), options.head.string());
  HeadShape sizes = head_shape(kind, options, target, shape, large);
  const PaddedAxes axes = padded_axes(
      sizes.small, sizes.large, place_heads(sizes.small, sizes.large, options.head.string(), options.like.string()));
  const std::optional<MlpSpeculatorConfig> speculator = sizes.speculator;
  const HeadInflater inflater(kind, sizes.small, sizes.large, axes, speculator, options.head.string());
  const std::optional<std::string> dtype = options.dtype ? options.dtype : shape.dtype;
  std::vector<NewTensor> list;
  for (const auto& [name, stored] : head.tensors()) {
    if (name.ends_with("rotary_emb.inv_freq") || name.starts_with("prefix_embeding_layer.embed_tokens")) continue;
    if (is_vocabulary_tensor(name)) {
      list.push_back({name, stored.type, stored.shape,
                      [&stored = stored](std::span<std::byte> out) { std::ranges::copy(stored.bytes, out.begin()); }});
      continue;
    }
    list.push_back(inflater.tensor(name, stored, dtype ? stored_type(dtype) : stored.type));
  }
  io::make_folder(options.out_dir);
  write_config(kind, options, sizes, target, large, head.tensors());
  write_safetensors(options.out_dir / head.file_name, list);
}

}  // namespace foretell::formats::heads
