#include "framework/formats/llama2c_header.h"

#include <array>
#include <cstring>
#include <utility>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::formats {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;  // "ak42", of version 1
constexpr std::size_t kHeaderBytesV1 = 256;
constexpr std::int32_t kLargestSize = 1 << 24;

template <class T>
T read_value(std::span<const std::byte> bytes, std::size_t offset, const std::string& name) {
  if (offset + sizeof(T) > bytes.size())
    fail("{}: truncated: {}, too short for a llama2.c header", name, counted(bytes.size(), "byte"));
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void check_header(const Llama2cHeader& h, const std::string& name) {
  const std::array<std::pair<const char*, std::int32_t>, 7> counts = {{{"dim", h.dim},
                                                                       {"hidden_dim", h.hidden_dim},
                                                                       {"n_layers", h.layers},
                                                                       {"n_heads", h.heads},
                                                                       {"n_kv_heads", h.kv_heads},
                                                                       {"vocab_size", h.vocab},
                                                                       {"max_seq_len", h.context}}};
  for (const auto& [what, value] : counts) {
    if (value < 1 || value > kLargestSize)
      fail("{}: not a llama2.c checkpoint: {} would be {}, 1 to {} is allowed", name, what, value, kLargestSize);
  }
  if (h.layers > 4096) fail("{}: not a llama2.c checkpoint: n_layers would be {}", name, h.layers);
  if (h.dim % h.heads != 0 || h.heads % h.kv_heads != 0 || h.dim / h.heads % 2 != 0) {
    fail("{}: {} and {} do not divide a width of {} into even heads", name, counted(h.heads, "head"),
         counted(h.kv_heads, "key head"), h.dim);
  }
}

}  // namespace

Llama2cLayout read_llama2c_layout(std::span<const std::byte> bytes, const std::string& name) {
  Llama2cLayout layout;
  layout.is_v1 = read_value<std::uint32_t>(bytes, 0, name) == kMagic;
  if (layout.is_v1) {
    const auto version = read_value<std::int32_t>(bytes, 4, name);
    if (version != 1) fail("{}: llama2.c checkpoint of version {}; versions 0 and 1 can be imported", name, version);
  }
  layout.header = read_value<Llama2cHeader>(bytes, layout.is_v1 ? 8 : 0, name);
  if (layout.is_v1) {
    layout.tied = read_value<std::uint8_t>(bytes, 8 + sizeof(Llama2cHeader), name) != 0;
    layout.offset = kHeaderBytesV1;
  } else {
    layout.tied = layout.header.vocab > 0;  // version 0 marks a classifier of its own with a negative vocabulary
    if (!layout.tied && layout.header.vocab >= -kLargestSize) layout.header.vocab = -layout.header.vocab;
    layout.offset = sizeof(Llama2cHeader);
  }
  check_header(layout.header, name);
  return layout;
}

void check_llama2c_size(std::span<const std::byte> bytes, unsigned __int128 expected, const Llama2cLayout& layout,
                        const std::string& name) {
  if (expected == bytes.size()) return;
  const auto shown = expected > ~std::uint64_t{0} ? ~std::uint64_t{0} : static_cast<std::uint64_t>(expected);
  fail("{}: {}: its header (version {}) asks for {} bytes, the file has {}", name,
       expected > bytes.size() ? "truncated" : "too long", layout.is_v1 ? 1 : 0, shown, bytes.size());
}

ModelConfig llama2c_config(const Llama2cLayout& layout) {
  const Llama2cHeader& h = layout.header;
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

}  // namespace foretell::formats
