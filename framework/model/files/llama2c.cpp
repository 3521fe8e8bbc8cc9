#include "framework/model/files/llama2c.h"

#include <array>
#include <cstring>
#include <utility>

#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"
#include "framework/model/files/mapped_file.h"
#include "framework/model/files/safetensors.h"
#include "framework/model/files/weight_list.h"

namespace foretell {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;  // "ak42", of version 1
constexpr std::size_t kHeaderBytesV1 = 256;
constexpr std::int32_t kLargest = 1 << 24;

struct Header {
  std::int32_t dim, hidden_dim, layers, heads, kv_heads, vocab, context;
};

struct Layout {
  Header header{};
  bool is_v1 = false;
  bool tied = true;
  std::size_t offset = 0;  // where the weights start
};

template <class T>
T read_value(std::span<const std::byte> bytes, std::size_t offset, const std::string& name) {
  if (offset + sizeof(T) > bytes.size()) fail("{}: truncated: {} bytes, too short for a llama2.c header", name, bytes.size());
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void check_header(const Header& h, const std::string& name) {
  const std::array<std::pair<const char*, std::int32_t>, 7> counts = {{{"dim", h.dim},
                                                                       {"hidden_dim", h.hidden_dim},
                                                                       {"n_layers", h.layers},
                                                                       {"n_heads", h.heads},
                                                                       {"n_kv_heads", h.kv_heads},
                                                                       {"vocab_size", h.vocab},
                                                                       {"max_seq_len", h.context}}};
  for (const auto& [what, value] : counts) {
    if (value < 1 || value > kLargest)
      fail("{}: not a llama2.c checkpoint: {} would be {}, 1 to {} is allowed", name, what, value, kLargest);
  }
  if (h.layers > 4096) fail("{}: not a llama2.c checkpoint: n_layers would be {}", name, h.layers);
  if (h.dim % h.heads != 0 || h.heads % h.kv_heads != 0 || h.dim / h.heads % 2 != 0) {
    fail("{}: {} heads and {} key heads do not divide a width of {} into even heads", name, h.heads, h.kv_heads, h.dim);
  }
}

Layout read_layout(std::span<const std::byte> bytes, const std::string& name) {
  Layout layout;
  layout.is_v1 = read_value<std::uint32_t>(bytes, 0, name) == kMagic;
  if (layout.is_v1) {
    const auto version = read_value<std::int32_t>(bytes, 4, name);
    if (version != 1) fail("{}: llama2.c checkpoint of version {}; versions 0 and 1 (float32) can be imported", name, version);
  }
  layout.header = read_value<Header>(bytes, layout.is_v1 ? 8 : 0, name);
  if (layout.is_v1) {
    layout.tied = read_value<std::uint8_t>(bytes, 8 + sizeof(Header), name) != 0;
    layout.offset = kHeaderBytesV1;
  } else {
    layout.tied = layout.header.vocab > 0;  // version 0 marks a classifier of its own with a negative vocabulary
    if (!layout.tied && layout.header.vocab >= -kLargest) layout.header.vocab = -layout.header.vocab;
    layout.offset = sizeof(Header);
  }
  check_header(layout.header, name);
  return layout;
}

// One matrix or vector for each layer, or a single one, in the file's order.
struct Part {
  std::string name;  // as weight_list.h spells it; within a layer if `per_layer`
  bool per_layer = true;
  std::int64_t rows = 1;  // 1: a vector
  std::int64_t columns = 0;
};

std::vector<Part> parts_of(const Layout& layout) {
  const Header& h = layout.header;
  const std::int64_t head_dim = h.dim / h.heads;
  const std::int64_t key_width = head_dim * h.kv_heads;
  const Part embedding{"model.embed_tokens.weight", false, h.vocab, h.dim};
  const Part attention_norm{"input_layernorm.weight", true, 1, h.dim};
  const Part mlp_norm{"post_attention_layernorm.weight", true, 1, h.dim};
  const Part final_norm{"model.norm.weight", false, 1, h.dim};
  const std::array<Part, 4> attention = {
      Part{"self_attn.q_proj.weight", true, h.dim, h.dim}, Part{"self_attn.k_proj.weight", true, key_width, h.dim},
      Part{"self_attn.v_proj.weight", true, key_width, h.dim}, Part{"self_attn.o_proj.weight", true, h.dim, h.dim}};
  const std::array<Part, 3> mlp = {Part{"mlp.gate_proj.weight", true, h.hidden_dim, h.dim},
                                   Part{"mlp.down_proj.weight", true, h.dim, h.hidden_dim},
                                   Part{"mlp.up_proj.weight", true, h.hidden_dim, h.dim}};
  std::vector<Part> parts;
  if (layout.is_v1) {
    parts = {attention_norm, mlp_norm, final_norm, embedding};
    parts.insert(parts.end(), attention.begin(), attention.end());
    parts.insert(parts.end(), mlp.begin(), mlp.end());
  } else {
    parts = {embedding, attention_norm};
    parts.insert(parts.end(), attention.begin(), attention.end());
    parts.push_back(mlp_norm);
    parts.insert(parts.end(), mlp.begin(), mlp.end());
    parts.push_back(final_norm);
    parts.push_back({"", false, h.context, head_dim});  // the angles' cosines and sines, which nobody needs
  }
  if (!layout.tied) parts.push_back({"lm_head.weight", false, h.vocab, h.dim});
  return parts;
}

void check_size(std::span<const std::byte> bytes, const Layout& layout, const std::string& name) {
  unsigned __int128 expected = layout.offset;
  for (const Part& part : parts_of(layout)) {
    expected += static_cast<unsigned __int128>(part.per_layer ? layout.header.layers : 1) * part.rows * part.columns * sizeof(float);
  }
  if (expected == bytes.size()) return;
  const auto shown = expected > ~std::uint64_t{0} ? ~std::uint64_t{0} : static_cast<std::uint64_t>(expected);
  fail("{}: {}: its header (version {}) asks for {} bytes, the file has {}", name, expected > bytes.size() ? "truncated" : "too long",
       layout.is_v1 ? 1 : 0, shown, bytes.size());
}

// Rows of each head from adjacent pairs (0, 1), (2, 3), ... to pairs of the two halves (0, d/2), (1, d/2 + 1), ...
std::vector<float> with_split_pairs(const std::vector<float>& rows, std::int64_t head_dim, std::int64_t columns) {
  std::vector<float> result(rows.size());
  const std::int64_t count = static_cast<std::int64_t>(rows.size()) / columns;
  for (std::int64_t row = 0; row < count; ++row) {
    const std::int64_t head = row / head_dim * head_dim;
    const std::int64_t within = row % head_dim;
    const std::int64_t target = head + within / 2 + (within % 2) * (head_dim / 2);
    std::copy_n(rows.begin() + row * columns, columns, result.begin() + target * columns);
  }
  return result;
}

ModelConfig config_of(const Layout& layout) {
  const Header& h = layout.header;
  ModelConfig config;
  config.family = "llama";
  config.vocab_size = h.vocab;
  config.hidden_size = h.dim;
  config.num_layers = h.layers;
  config.num_heads = h.heads;
  config.num_kv_heads = h.kv_heads;
  config.head_dim = h.dim / h.heads;
  config.intermediate_size = h.hidden_dim;
  config.context = h.context;
  config.norm_eps = 1e-5;
  config.tie_embeddings = layout.tied;
  config.bos = 1;
  config.eos = {2, 1};  // llama2.c's models start the next text with the first token instead of ending one
  std::erase_if(config.eos, [&config](Token id) { return id >= config.vocab_size; });
  if (config.vocab_size < 2) config.bos.reset();
  config.dtype = "float32";
  return config;
}

}  // namespace

Llama2cCheckpoint parse_llama2c(std::span<const std::byte> bytes, const std::string& name) {
  const Layout layout = read_layout(bytes, name);
  check_size(bytes, layout, name);
  Llama2cCheckpoint checkpoint{config_of(layout), {}};
  std::size_t offset = layout.offset;
  for (const Part& part : parts_of(layout)) {
    const std::size_t values = static_cast<std::size_t>(part.rows) * part.columns;
    for (int layer = 0; layer < (part.per_layer ? layout.header.layers : 1); ++layer) {
      const std::size_t start = std::exchange(offset, offset + values * sizeof(float));
      if (part.name.empty()) continue;
      Llama2cTensor tensor{
          part.per_layer ? layer_weight_name(WeightNaming::Llama, layer, part.name) : part.name, {}, std::vector<float>(values)};
      tensor.shape = part.name.find("norm") != std::string::npos ? std::vector{part.columns} : std::vector{part.rows, part.columns};
      std::memcpy(tensor.values.data(), bytes.data() + start, values * sizeof(float));
      if (part.name == "self_attn.q_proj.weight" || part.name == "self_attn.k_proj.weight") {
        tensor.values = with_split_pairs(tensor.values, checkpoint.config.head_dim, part.columns);
      }
      checkpoint.tensors.push_back(std::move(tensor));
    }
  }
  return checkpoint;
}

void import_llama2c(const std::filesystem::path& file, const std::filesystem::path& tokenizer, const std::filesystem::path& out_dir) {
  const MappedFile source = MappedFile::open(file);
  const MappedFile tokenizer_bytes = MappedFile::open(tokenizer);
  const Llama2cCheckpoint checkpoint = parse_llama2c(source.bytes(), file.string());
  make_folder(out_dir);
  StoredTensors tensors;
  for (const Llama2cTensor& tensor : checkpoint.tensors) {
    tensors[tensor.name] = {StoredType::F32, tensor.shape, std::as_bytes(std::span(tensor.values))};
  }
  write_safetensors(out_dir / "model.safetensors", tensors);
  AtomicFile copy(out_dir / "tokenizer.bin");
  copy.write(tokenizer_bytes.bytes());
  copy.commit();
  write_model_config(out_dir, checkpoint.config);
}

}  // namespace foretell
