#include "framework/kernels/matrix_path.h"

#include "framework/kernels/bfloat16_product.h"
#include "framework/kernels/tile_product.h"

namespace foretell::kernels {
namespace {

std::optional<MatrixPath>& assumed_path() {
  static std::optional<MatrixPath> path;
  return path;
}

// As the loader chooses between clones (cpu_clones.h).
std::string_view vector_name() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "generic";
}

}  // namespace

MatrixPath matrix_path() {
  if (assumed_path()) return *assumed_path();
  static const bool pairs = has_bfloat16_instructions();
  return has_tiles() ? MatrixPath::Tiles : pairs ? MatrixPath::Pairs : MatrixPath::Vectors;
}

std::string_view matrix_path_name() {
  switch (matrix_path()) {
    case MatrixPath::Tiles: return "amx";
    case MatrixPath::Pairs: return "avx512_bf16";
    case MatrixPath::Vectors: return vector_name();
  }
  return {};
}

void assume_matrix_path(std::optional<MatrixPath> path) { assumed_path() = path; }

}  // namespace foretell::kernels
