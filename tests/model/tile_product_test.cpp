// Products by the processor's matrix tiles; where it has none, by the emulated ones.
#include "framework/model/tile_product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <optional>

#include "framework/model/packed_matrix.h"
#include "tests/support/catch.h"
#include "tests/support/tile_emulator.h"

namespace foretell {
namespace {

// Tiles from here on, on one thread: the emulator has one set of them.
class Tiles {
 public:
  Tiles() : threads_(at::get_num_threads()) {
    at::set_num_threads(1);
    if (has_tiles()) return;
    emulator_.emplace();
    assume_tiles(true);
  }
  ~Tiles() {
    assume_tiles(std::nullopt);
    at::set_num_threads(threads_);
  }
  // Whether tiles were at work since the last call; a processor's own leave no trace.
  bool used() {
    if (!emulator_) return true;
    const bool more = emulator_->instructions() > seen_;
    seen_ = emulator_->instructions();
    return more;
  }

 private:
  int threads_;
  std::optional<TileEmulator> emulator_;
  std::int64_t seen_ = 0;
};

double error_of(const at::Tensor& y, const at::Tensor& expected) {
  return ((y.to(at::kDouble) - expected).abs() / (1 + expected.abs())).max().item<double>();
}

TEST_CASE("products by tiles are ATen's, for every remainder of rows and outputs") {
  if (!TileEmulator::possible()) return;
  constexpr double kRounding = 0.008;  // of bfloat16
  Tiles tiles;
  at::manual_seed(11);
  for (const int rows : {5, 15, 16, 17, 31, 32, 33, 49, 64, 70}) {
    for (const int outputs : {2, 32, 34, 130}) {
      for (const int inputs : {32, 160}) {
        INFO(rows << " rows, " << outputs << " outputs, " << inputs << " inputs");
        const at::Tensor x = at::randn({rows, inputs}).to(at::kBFloat16);
        const at::Tensor weight = at::randn({outputs, inputs}).div(std::sqrt(static_cast<double>(inputs))).to(at::kBFloat16);
        const at::Tensor bias = rows % 2 ? at::randn({outputs}) : at::Tensor();
        at::Tensor expected = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
        if (bias.defined()) expected = expected + bias.to(at::kDouble);
        const PackedMatrix matrix(weight, PackedMatrix::Type::BFloat16, false);
        CHECK(error_of(matrix.product(x, bias), expected) < kRounding);
        CHECK(tiles.used());
        const at::Tensor y = at::randn({rows, outputs}).to(at::kBFloat16), sum = y.to(at::kDouble) + expected;
        matrix.add_product(x, bias, y);
        CHECK(error_of(y, sum) < kRounding);
        const at::Tensor gate = expected.narrow(1, 0, outputs / 2), other = expected.narrow(1, outputs / 2, outputs / 2);
        const PackedMatrix gated(weight, PackedMatrix::Type::BFloat16, true);
        CHECK(error_of(gated.gated_product(x, bias, Activation::Silu), gate * gate.sigmoid() * other) < kRounding);
      }
    }
  }
}

TEST_CASE("a row's product by tiles does not depend on the rows beside it") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  at::manual_seed(12);
  const PackedMatrix matrix(at::randn({40, 352}).to(at::kBFloat16), PackedMatrix::Type::BFloat16, false);
  const at::Tensor x = at::randn({70, 352}).to(at::kBFloat16), all = matrix.product(x, {});
  for (const int rows : {5, 16, 17, 32, 50})
    CHECK(at::equal(matrix.product(x.narrow(0, 7, rows).contiguous(), {}), all.narrow(0, 7, rows)));
  CHECK(tiles.used());
}

TEST_CASE("few rows, other types and odd numbers of inputs do not need tiles") {
  if (!TileEmulator::possible() || has_tiles()) return;
  Tiles tiles;
  const auto multiply = [](PackedMatrix::Type stored, at::ScalarType type, int rows, int inputs) {
    PackedMatrix(at::randn({40, inputs}).to(type), stored, false).product(at::randn({rows, inputs}).to(type), {});
  };
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, 4, 64);
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, 9, 48);
  multiply(PackedMatrix::Type::Float32, at::kFloat, 9, 64);
  multiply(PackedMatrix::Type::Int8, at::kFloat, 9, 64);
  CHECK_FALSE(tiles.used());
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, 5, 64);
  CHECK(tiles.used());
}

TEST_CASE("the product that decides whether tiles are used comes out right with right tiles") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  CHECK(tiles_come_out_right());
  CHECK(tiles.used());
}

}  // namespace
}  // namespace foretell
