#include "framework/kernels/attention/attention_path.h"

#include "framework/kernels/tile_product.h"

namespace foretell::kernels::attention {
namespace {

bool processor_has_bf16_vectors() {
#ifdef FORETELL_BF16_VECTORS
  return __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("x86-64-v4") != 0;
#else
  return false;
#endif
}

std::optional<bool>& assumed_bf16() {
  static std::optional<bool> present;
  return present;
}

}  // namespace

AttentionPath attention_path(at::ScalarType type) {
  if (type != at::kBFloat16) return AttentionPath::Fma;
  if (has_tiles()) return AttentionPath::Tiles;
  static const bool vectors = processor_has_bf16_vectors();
  return assumed_bf16().value_or(vectors) ? AttentionPath::Bf16 : AttentionPath::Fma;
}

std::string_view name_of(AttentionPath path) {
  switch (path) {
    case AttentionPath::Tiles: return "amx_bf16";
    case AttentionPath::Bf16: return "avx512_bf16";
    case AttentionPath::Fma: break;
  }
  return "fma";
}

void assume_bf16_vectors(std::optional<bool> present) { assumed_bf16() = present; }

}  // namespace foretell::kernels::attention
