#include "framework/formats/llama2c.h"

#include <array>
#include <cstring>
#include <utility>

#include "framework/formats/llama2c_header.h"
#include "framework/formats/weight_list.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {
namespace {

// One matrix or vector for each layer, or a single one, in the file's order.
struct StoredPart {
  std::string name;  // as weight_list.h spells it; within a layer if `per_layer`
  bool per_layer = true;
  std::int64_t rows = 1;  // 1: a vector
  std::int64_t columns = 0;
};

std::vector<StoredPart> parts_of(const Llama2cLayout& layout) {
  const Llama2cHeader& h = layout.header;
  const std::int64_t key_width = layout.key_width();
  const StoredPart embedding{"model.embed_tokens.weight", false, h.vocab, h.dim};
  const StoredPart attention_norm{"input_layernorm.weight", true, 1, h.dim};
  const StoredPart mlp_norm{"post_attention_layernorm.weight", true, 1, h.dim};
  const StoredPart final_norm{"model.norm.weight", false, 1, h.dim};
  const std::array<StoredPart, 4> attention = {StoredPart{"self_attn.q_proj.weight", true, h.dim, h.dim},
                                               StoredPart{"self_attn.k_proj.weight", true, key_width, h.dim},
                                               StoredPart{"self_attn.v_proj.weight", true, key_width, h.dim},
                                               StoredPart{"self_attn.o_proj.weight", true, h.dim, h.dim}};
  const std::array<StoredPart, 3> mlp = {StoredPart{"mlp.gate_proj.weight", true, h.hidden_dim, h.dim},
                                         StoredPart{"mlp.down_proj.weight", true, h.dim, h.hidden_dim},
                                         StoredPart{"mlp.up_proj.weight", true, h.hidden_dim, h.dim}};
  std::vector<StoredPart> parts;
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
    parts.push_back({"", false, h.context, h.dim / h.heads});  // the angles' cosines and sines, which nobody needs
  }
  if (!layout.tied) parts.push_back({"lm_head.weight", false, h.vocab, h.dim});
  return parts;
}

void check_size(std::span<const std::byte> bytes, const Llama2cLayout& layout, const std::string& name) {
  unsigned __int128 expected = layout.offset;
  for (const StoredPart& part : parts_of(layout)) {
    expected += static_cast<unsigned __int128>(part.per_layer ? layout.header.layers : 1) * part.rows * part.columns *
                sizeof(float);
  }
  check_llama2c_size(bytes, expected, layout, name);
}

}  // namespace

ImportedCheckpoint parse_llama2c(std::span<const std::byte> bytes, const std::string& name) {
  const Llama2cLayout layout = read_llama2c_layout(bytes, name);
  check_size(bytes, layout, name);
  ImportedCheckpoint checkpoint{llama2c_config(layout), {}};
  std::size_t offset = layout.offset;
  for (const StoredPart& part : parts_of(layout)) {
    const std::size_t count = static_cast<std::size_t>(part.rows) * part.columns;
    for (int layer = 0; layer < (part.per_layer ? layout.header.layers : 1); ++layer) {
      const std::size_t start = std::exchange(offset, offset + count * sizeof(float));
      if (part.name.empty()) continue;
      std::vector<float> values(count);
      std::memcpy(values.data(), bytes.data() + start, count * sizeof(float));
      if (part.name == "self_attn.q_proj.weight" || part.name == "self_attn.k_proj.weight")
        values = split_pairs(values, checkpoint.config.head_dim, part.columns);
      const auto stored = std::as_bytes(std::span(values));
      const bool is_vector = part.name.find("norm") != std::string::npos;
      checkpoint.tensors.push_back(
          {part.per_layer ? layer_weight_name(WeightNaming::Llama, layer, part.name) : part.name,
           StoredType::F32,
           is_vector ? std::vector{part.columns} : std::vector{part.rows, part.columns},
           {stored.begin(), stored.end()}});
    }
  }
  return checkpoint;
}

void import_llama2c(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                    const std::filesystem::path& out_dir) {
  const io::MappedFile source = io::MappedFile::open(file);
  write_imported(parse_llama2c(source.bytes(), file.string()), tokenizer, out_dir);
}

}  // namespace foretell::formats
