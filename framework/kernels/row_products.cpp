#include "framework/kernels/row_products.h"

#include "framework/kernels/bfloat16_product.h"
#include "framework/kernels/tile_product.h"
#include "framework/kernels/tiled_product.h"
#include "framework/kernels/vector_product.h"

namespace foretell::kernels {

using at::BFloat16;

MatrixPath path_of(const Product& product) {
  const MatrixPath path = product.type == PanelType::Float32 ? MatrixPath::Vectors : matrix_path();
  if (path == MatrixPath::Vectors || (path == MatrixPath::Tiles && product.inputs % kTileInputs == 0)) return path;
  // What has tiles has pairs; where they are emulated it need not have.
  return has_bfloat16_instructions() ? MatrixPath::Pairs : MatrixPath::Vectors;
}

void lay_out_rows(const Product& product, const float* x) { lay_out_turned(product, x); }
void lay_out_rows(const Product& product, const BFloat16* x) {
  switch (path_of(product)) {
    case MatrixPath::Tiles: return lay_out_tiles(product, x);
    case MatrixPath::Pairs: return lay_out_pairs(product, x);
    case MatrixPath::Vectors: return lay_out_turned(product, x);
  }
}

template <>
void multiply_groups<float>(const Product& product, GroupRange groups, float* y) {
  multiply_turned(product, groups, y);
}

template <class Y>
static void multiply_bfloat16_groups(const Product& product, GroupRange groups, Y* y) {
  switch (path_of(product)) {
    case MatrixPath::Tiles: return multiply_laid_out_tiles(product, groups, y);
    case MatrixPath::Pairs: return multiply_laid_out_pairs(product, groups, y);
    case MatrixPath::Vectors: return multiply_turned(product, groups, y);
  }
}
template <>
void multiply_groups<BFloat16>(const Product& product, GroupRange groups, float* y) {
  multiply_bfloat16_groups(product, groups, y);
}
template <>
void multiply_groups<BFloat16>(const Product& product, GroupRange groups, BFloat16* y) {
  multiply_bfloat16_groups(product, groups, y);
}

}  // namespace foretell::kernels
