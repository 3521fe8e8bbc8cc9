// Which arithmetic attention is computed with, and with it the order of its sums: see cached_attention.h.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

// Whether the compiler knows avx512_bf16.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FORETELL_BF16_VECTORS
#endif

namespace foretell::kernels::attention {

// What multiplies: float32 always Fma; bfloat16 what the processor has.
enum class AttentionPath {
  Fma,    // float32 multiplications of widened numbers
  Bf16,   // avx512_bf16: products of pairs
  Tiles,  // amx_bf16 (tile_product.h)
};

AttentionPath attention_path(at::ScalarType type);
std::string_view name_of(AttentionPath path);
// Whether bfloat16 vectors are used from now on, without an argument the processor's own answer again: for tests. Only
// where the processor has them.
void assume_bf16_vectors(std::optional<bool> present);

}  // namespace foretell::kernels::attention
