// Which instructions a PackedMatrix's products go through on this processor.
//
// Contract: one path for all numbers of rows, so one order of sums. Paths differ in that order: results of two
// processors agree to rounding.
#pragma once

#include <optional>
#include <string_view>

namespace foretell::kernels {

enum class MatrixPath {
  Tiles,    // AMX (tile_product.h): bfloat16 rows over bfloat16 or int8 panels
  Pairs,    // AVX512_BF16 (bfloat16_product.h): the same
  Vectors,  // float32 in the processor's widest vectors (vector_product.h); float32 rows always go there
};

// Of bfloat16 rows. The best that there is, or what was assumed.
MatrixPath matrix_path();
// Its name, for manifests and reports: amx, avx512_bf16, avx512, avx2 or generic.
std::string_view matrix_path_name();
// Takes one that this processor has, without an argument the best again. For tests.
void assume_matrix_path(std::optional<MatrixPath> path);

}  // namespace foretell::kernels
