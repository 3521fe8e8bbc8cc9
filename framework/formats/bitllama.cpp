#include "framework/formats/bitllama.h"

#include <array>
#include <cstring>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/llama2c_header.h"
#include "framework/formats/weight_list.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {
namespace {

struct Matrix {
  const char* name;  // within a layer
  std::int64_t rows, columns;
};

std::array<Matrix, 7> matrices_of(const Llama2cLayout& layout) {
  const Llama2cHeader& h = layout.header;
  return {{{"self_attn.q_proj", h.dim, h.dim},
           {"self_attn.k_proj", layout.key_width(), h.dim},
           {"self_attn.v_proj", layout.key_width(), h.dim},
           {"self_attn.o_proj", h.dim, h.dim},
           {"mlp.gate_proj", h.hidden_dim, h.dim},
           {"mlp.down_proj", h.dim, h.hidden_dim},
           {"mlp.up_proj", h.hidden_dim, h.dim}}};
}

void check_layout(std::span<const std::byte> bytes, const Llama2cLayout& layout, const std::string& name) {
  const Llama2cHeader& h = layout.header;
  if (!layout.is_v1) fail("{}: not a ternary checkpoint: it does not start with the header of version 1", name);
  if (!layout.tied)
    fail("{}: a ternary checkpoint with a classifier of its own; only those that share the embedding can be imported",
         name);
  unsigned __int128 expected =
      layout.offset + sizeof(float) * static_cast<unsigned __int128>(h.dim) * (1 + std::int64_t{h.vocab});
  for (const Matrix& matrix : matrices_of(layout)) {
    const std::int64_t elements = matrix.rows * matrix.columns;
    if (elements % 4 != 0)
      fail("{}: {} would have {}, which do not fill whole bytes", name, matrix.name, counted(elements, "element"));
    expected += static_cast<unsigned __int128>(h.layers) * (sizeof(float) + elements / 4);
  }
  check_llama2c_size(bytes, expected, layout, name);
}

// Hands out the parts of the file one after the other; check_layout() has seen that they are there.
class Parts {
 public:
  Parts(std::span<const std::byte> bytes, const Llama2cLayout& layout, const std::string& name)
      : rest_(bytes.subspan(layout.offset)), name_(name) {}

  std::vector<std::byte> floats(std::int64_t count) {
    const auto taken = take(static_cast<std::size_t>(count) * sizeof(float));
    return {taken.begin(), taken.end()};
  }

  std::vector<std::int8_t> ternary(const Matrix& matrix, int layer) {
    std::vector<std::int8_t> values;
    values.reserve(static_cast<std::size_t>(matrix.rows * matrix.columns));
    for (const std::byte packed : take(static_cast<std::size_t>(matrix.rows * matrix.columns / 4))) {
      for (int shift = 6; shift >= 0; shift -= 2) {
        const int code = std::to_integer<int>(packed) >> shift & 3;
        if (code == 2) fail("{}: {} of layer {} holds the code 2; 0, 1 and 3 are allowed", name_, matrix.name, layer);
        values.push_back(static_cast<std::int8_t>(code == 3 ? -1 : code));
      }
    }
    return values;
  }

 private:
  std::span<const std::byte> take(std::size_t count) {
    FORETELL_CHECK(count <= rest_.size(), "{} of {} bytes", count, rest_.size());
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  std::span<const std::byte> rest_;
  const std::string& name_;
};

ModelConfig config_of(const Llama2cLayout& layout) {
  ModelConfig config = llama2c_config(layout);
  config.family = "bitllama";
  config.sublayer_norms = false;
  config.ternary = true;
  config.dtype = "float64";  // ternary.h says why
  return config;
}

bool is_rotated(const std::string& name) { return name == "self_attn.q_proj" || name == "self_attn.k_proj"; }

}  // namespace

ImportedCheckpoint parse_bitllama(std::span<const std::byte> bytes, const std::string& name) {
  const Llama2cLayout layout = read_llama2c_layout(bytes, name);
  check_layout(bytes, layout, name);
  const Llama2cHeader& h = layout.header;
  ImportedCheckpoint checkpoint{config_of(layout), {}};
  Parts parts(bytes, layout, name);
  checkpoint.tensors.push_back({"model.norm.weight", StoredType::F32, {h.dim}, parts.floats(h.dim)});
  checkpoint.tensors.push_back(
      {"model.embed_tokens.weight", StoredType::F32, {h.vocab, h.dim}, parts.floats(std::int64_t{h.vocab} * h.dim)});
  for (const Matrix& matrix : matrices_of(layout)) {
    for (int layer = 0; layer < h.layers; ++layer) {
      const std::string stem = layer_weight_name(WeightNaming::Llama, layer, matrix.name);
      checkpoint.tensors.push_back({stem + ".weight_scale", StoredType::F32, {1}, parts.floats(1)});
      std::vector<std::int8_t> values = parts.ternary(matrix, layer);
      if (is_rotated(matrix.name)) values = split_pairs(values, checkpoint.config.head_dim, matrix.columns);
      const auto stored = std::as_bytes(std::span(values));
      checkpoint.tensors.push_back(
          {stem + ".weight", StoredType::I8, {matrix.rows, matrix.columns}, {stored.begin(), stored.end()}});
    }
  }
  return checkpoint;
}

void import_bitllama(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                     const std::filesystem::path& out_dir) {
  const io::MappedFile source = io::MappedFile::open(file);
  write_imported(parse_bitllama(source.bytes(), file.string()), tokenizer, out_dir);
}

}  // namespace foretell::formats
