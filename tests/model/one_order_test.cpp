// One order of sums: what a row's result is does not depend, to the bit, on how many rows are computed with it, on each
// path that this processor has and on emulated tiles.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <functional>
#include <optional>
#include <random>

#include "framework/kernels/bfloat16_product.h"
#include "framework/kernels/kernels.h"
#include "framework/kernels/matrix_path.h"
#include "framework/kernels/packed_matrix.h"
#include "framework/kernels/tile_order.h"
#include "framework/kernels/tile_product.h"
#include "framework/model/experts.h"
#include "framework/model/norm.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/tile_emulator.h"

namespace foretell {
namespace {

using RowFunction = std::function<at::Tensor(const at::Tensor&)>;

// Whether f of x's rows in random blocks is f of all of them.
bool is_independent_of_splits(const RowFunction& f, const at::Tensor& x, int splits) {
  const at::Tensor all = f(x.clone());
  std::mt19937 random(7);
  for (int split = 0; split < splits; ++split) {
    std::vector<at::Tensor> parts;
    const std::uint32_t most = split % 3 == 0 ? 8 : split % 3 == 1 ? 70 : 130;
    for (std::int64_t first = 0; first < x.size(0);) {
      const std::int64_t rows = std::min<std::int64_t>(1 + random() % most, x.size(0) - first);
      parts.push_back(f(x.narrow(0, first, rows).clone()));
      first += rows;
    }
    if (!at::equal(at::cat(parts), all)) return false;
  }
  return true;
}

// A path from here on; tiles that the processor lacks are emulated, on one thread.
class OnPath {
 public:
  explicit OnPath(MatrixPath path) : threads_(at::get_num_threads()) {
    if (path == MatrixPath::Tiles && !has_tiles()) {
      at::set_num_threads(1);
      emulator_.emplace();
      assume_tiles(true);
    }
    assume_matrix_path(path);
  }
  ~OnPath() {
    assume_matrix_path(std::nullopt);
    assume_tiles(std::nullopt);
    at::set_num_threads(threads_);
  }
  OnPath(const OnPath&) = delete;
  OnPath& operator=(const OnPath&) = delete;

  static std::vector<MatrixPath> all() {
    std::vector<MatrixPath> paths{MatrixPath::Vectors};
    if (has_bfloat16_instructions()) paths.push_back(MatrixPath::Pairs);
    if (has_tiles() || TileEmulator::possible()) paths.push_back(MatrixPath::Tiles);
    return paths;
  }

 private:
  int threads_;
  std::optional<TileEmulator> emulator_;
};

struct Stored {
  PackedMatrix::Type type;
  at::ScalarType rows;
};

TEST_CASE("a row's products are the same in any split of 1 to 130 rows, for every type and path") {
  at::manual_seed(21);
  for (const MatrixPath path : OnPath::all()) {
    const OnPath on(path);
    for (const auto& [type, of_rows] : {Stored{PackedMatrix::Type::BFloat16, at::kBFloat16},
                                        {PackedMatrix::Type::Int8, at::kBFloat16},
                                        {PackedMatrix::Type::Float32, at::kFloat},
                                        {PackedMatrix::Type::Int8, at::kFloat}}) {
      if (path != MatrixPath::Vectors && of_rows == at::kFloat) continue;  // goes through vectors anyway
      for (const int inputs : {33, 160, 2144}) {
        if (path == MatrixPath::Tiles && inputs > 1000 && !has_tiles() && type == PackedMatrix::Type::Int8) continue;
        INFO(matrix_path_name() << ", type " << static_cast<int>(type) << ", " << inputs << " inputs");
        const at::Tensor weight = at::randn({70, inputs}).to(of_rows), x = at::randn({130, inputs}).to(of_rows),
                         bias = at::randn({70});
        const PackedMatrix matrix(weight, type, false), gated(weight, type, true);
        const int splits = inputs > 1000 ? 3 : 6;
        CHECK(is_independent_of_splits([&](const at::Tensor& rows) { return matrix.matmul_float(rows, bias); }, x,
                                       splits));
        if (inputs > 1000) continue;
        CHECK(is_independent_of_splits([&](const at::Tensor& rows) { return matrix.product(rows, {}); }, x, splits));
        CHECK(is_independent_of_splits(
            [&](const at::Tensor& rows) { return gated.matmul_glu(rows, bias, Activation::GeluTanh); }, x, splits));
        CHECK(is_independent_of_splits(
            [&](const at::Tensor& rows) {
              const at::Tensor y = at::ones({rows.size(0), 70}, rows.options());
              matrix.matmul_accumulate(rows, bias, y);
              return y;
            },
            x, splits));
      }
    }
  }
}

TEST_CASE("a product whose order of sums changes with the number of rows is noticed") {
  if (!has_bfloat16_instructions()) return;
  at::manual_seed(22);
  const PackedMatrix matrix(at::randn({70, 160}).to(at::kBFloat16), PackedMatrix::Type::BFloat16, false);
  const at::Tensor x = at::randn({130, 160}).to(at::kBFloat16);
  const auto mixed = [&](const at::Tensor& rows) {
    const OnPath on(rows.size(0) <= 5 ? MatrixPath::Vectors : MatrixPath::Pairs);
    return matrix.matmul_float(rows, {});
  };
  CHECK_FALSE(is_independent_of_splits(mixed, x, 3));
}

TEST_CASE("paths agree to rounding, and int8 weights are multiplied exactly as the integers that they are") {
  at::manual_seed(23);
  const at::Tensor whole = at::randint(-127, 128, {70, 96}, at::kFloat);
  const PackedMatrix matrix(whole.to(at::kChar), PackedMatrix::Type::Int8, false);
  // Sums below 2^24: exact in any order.
  const at::Tensor x = at::randint(-99, 100, {40, 96}, at::kFloat);
  for (const MatrixPath path : OnPath::all()) {
    const OnPath on(path);
    INFO(matrix_path_name());
    for (const int rows : {1, 5, 6, 7, 13, 40}) {
      const at::Tensor part = x.narrow(0, 0, rows);
      CHECK(at::equal(matrix.matmul_float(part.to(at::kBFloat16), {}), at::matmul(part, whole.t())));
    }
    const at::Tensor wide = at::randn({20, 320}), weight = at::randn({70, 320}).to(at::kBFloat16);
    const at::Tensor exact = at::matmul(wide.to(at::kBFloat16).to(at::kDouble), weight.to(at::kDouble).t());
    const PackedMatrix by_path(weight, PackedMatrix::Type::BFloat16, false);
    CHECK((by_path.matmul_float(wide.to(at::kBFloat16), {}) - exact).abs().max().item<double>() < 1e-4);
  }
}

TEST_CASE("few rows in vectors are what tiles make of them, denormal numbers included") {
  if (!has_tiles() && !TileEmulator::possible()) return;
  const OnPath on(MatrixPath::Tiles);
  CHECK(vectors_follow_tiles());
  at::manual_seed(24);
  // Products around the smallest normal number: some are denormal, and some sums of normal ones are.
  const at::Tensor tiny = at::randn({64, 160}).mul(1e-20).to(at::kBFloat16),
                   weight = at::randn({70, 160}).mul(1e-18).to(at::kBFloat16);
  const PackedMatrix matrix(weight, PackedMatrix::Type::BFloat16, false);
  const at::Tensor all = matrix.matmul_float(tiny, {});
  CHECK(all.abs().max().item<float>() > 0);
  for (const int rows : {1, 2, 3, 4, 5, 6, 33})
    CHECK(at::equal(matrix.matmul_float(tiny.narrow(0, 0, rows).contiguous(), {}), all.narrow(0, 0, rows)));
}

TEST_CASE("norms, activations and gates of a row are the same in any split, for every type") {
  at::manual_seed(25);
  constexpr int kWidth = 75;  // no multiple of a vector
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    INFO(c10::toString(type));
    const at::Tensor x = at::randn({130, kWidth}).mul(3).to(type), gain = at::randn({kWidth}).to(type);
    for (const auto kind : {formats::NormKind::Rms, formats::NormKind::Layer}) {
      const Norm norm{.kind = kind, .eps = 1e-5, .gain = gain, .bias = gain};
      CHECK(is_independent_of_splits([&](const at::Tensor& rows) { return norm.forward(rows); }, x, 6));
    }
    for (const auto activation : {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu}) {
      CHECK(is_independent_of_splits([&](at::Tensor rows) { return activate(rows, activation); }, x, 6));
      const at::Tensor wide = x.to(at::kDouble), exact = activate_aten(wide.clone(), activation);
      const double tolerance = type == at::kBFloat16 ? 0.004 : type == at::kFloat ? 5e-7 : 1e-12;
      CHECK(((activate(x.clone(), activation).to(at::kDouble) - exact).abs() / (1 + exact.abs())).max().item<double>() <
            tolerance);
    }
    CHECK(is_independent_of_splits([&](const at::Tensor& rows) { return sigmoid(rows.narrow(1, 0, 1)); }, x, 6));
  }
}

TEST_CASE("what experts make of a row is the same with any others, by which they may be chosen too") {
  at::manual_seed(26);
  formats::ModelConfig config;
  config.hidden_size = 48;
  config.moe.experts = 4;
  config.moe.experts_per_token = 2;
  config.moe.shared_size = 40;
  const auto matrix = [](int outputs, int inputs, bool gated) {
    Linear result(at::randn({outputs, inputs}).div(std::sqrt(static_cast<double>(inputs))).to(at::kBFloat16), {});
    result.pack({.gated = gated});
    return result;
  };
  const auto expert = [&] { return Expert{matrix(2 * 40, 48, true), matrix(48, 40, false)}; };
  ExpertWeights weights{.gate = at::randn({4, 48}).to(at::kBFloat16),
                        .selection_bias = {},
                        .experts = {},
                        .shared = {},
                        .shared_gate = {}};
  for (int i = 0; i < 4; ++i) weights.experts.push_back(expert());
  weights.shared = expert();
  weights.shared_gate = at::randn({1, 48}).to(at::kBFloat16);
  const ExpertBlock block(config, 0, std::move(weights));
  CHECK(is_independent_of_splits([&](const at::Tensor& rows) { return block.forward(rows, {}); },
                                 at::randn({130, 48}).to(at::kBFloat16), 9));
}

}  // namespace
}  // namespace foretell
