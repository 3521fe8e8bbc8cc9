// Products by the processor's matrix tiles; where it has none, by the emulated ones.
#include "framework/kernels/tile_product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <fstream>
#include <optional>

#include "framework/kernels/packed_matrix.h"
#include "framework/kernels/tile_order.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
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
  for (const int rows : {6, 15, 16, 17, 31, 32, 33, 48, 49, 64, 70, 100, 130}) {
    for (const int outputs : {2, 32, 34, 130}) {
      for (const int inputs : {32, 160}) {
        INFO(rows << " rows, " << outputs << " outputs, " << inputs << " inputs");
        const at::Tensor x = at::randn({rows, inputs}).to(at::kBFloat16);
        const at::Tensor weight =
            at::randn({outputs, inputs}).div(std::sqrt(static_cast<double>(inputs))).to(at::kBFloat16);
        const at::Tensor bias = rows % 2 ? at::randn({outputs}) : at::Tensor();
        at::Tensor expected = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
        if (bias.defined()) expected = expected + bias.to(at::kDouble);
        const PackedMatrix matrix(weight, PackedMatrix::Type::BFloat16, false);
        CHECK(error_of(matrix.product(x, bias), expected) < kRounding);
        CHECK(tiles.used());
        const at::Tensor y = at::randn({rows, outputs}).to(at::kBFloat16), sum = y.to(at::kDouble) + expected;
        matrix.matmul_accumulate(x, bias, y);
        CHECK(error_of(y, sum) < kRounding);
        const at::Tensor gate = expected.narrow(1, 0, outputs / 2),
                         other = expected.narrow(1, outputs / 2, outputs / 2);
        const PackedMatrix gated(weight, PackedMatrix::Type::BFloat16, true);
        CHECK(error_of(gated.matmul_glu(x, bias, Activation::Silu), gate * gate.sigmoid() * other) < kRounding);
      }
    }
  }
}

TEST_CASE("int8 weights go through tiles as the integers that they are") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  at::manual_seed(13);
  for (const int rows : {6, 16, 20, 40}) {
    for (const int inputs : {32, 160, 288}) {
      INFO(rows << " rows, " << inputs << " inputs");
      const at::Tensor x = at::randn({rows, inputs}).to(at::kBFloat16);
      const PackedMatrix matrix(at::randn({70, inputs}), PackedMatrix::Type::Int8, false);
      CHECK(error_of(matrix.matmul_float(x, {}),
                     at::matmul(x.to(at::kDouble), matrix.dequantize().to(at::kDouble).t())) < 1e-5);
      CHECK(tiles.used());
      const PackedMatrix gated(at::randn({70, inputs}), PackedMatrix::Type::Int8, true);
      const at::Tensor halves = at::matmul(x.to(at::kDouble), gated.dequantize().to(at::kDouble).t()),
                       gate = halves.narrow(1, 0, 35);
      CHECK(error_of(gated.matmul_glu(x, {}, Activation::Silu), gate * gate.sigmoid() * halves.narrow(1, 35, 35)) <
            0.008);
    }
  }
}

TEST_CASE("many rows by tiles are few rows by tiles, in whatever chunks and pieces") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  at::manual_seed(14);
  constexpr int kRows = 290, kInputs = 2112;  // more than one chunk of rows, and more than one piece of inputs
  for (const auto type : {PackedMatrix::Type::BFloat16, PackedMatrix::Type::Int8}) {
    const at::Tensor weight = at::randn({33, kInputs});
    const PackedMatrix matrix(type == PackedMatrix::Type::Int8 ? weight : weight.to(at::kBFloat16), type, false);
    const at::Tensor x = at::randn({kRows, kInputs}).to(at::kBFloat16), all = matrix.matmul_float(x, {});
    CHECK(error_of(all, at::matmul(x.to(at::kDouble), matrix.dequantize().to(at::kDouble).t())) < 1e-4);
    for (const int first : {0, 250, 284})
      CHECK(at::equal(matrix.matmul_float(x.narrow(0, first, 6).contiguous(), {}), all.narrow(0, first, 6)));
  }
}

TEST_CASE("a row's product by tiles does not depend on the rows beside it nor on their number") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  at::manual_seed(12);
  const PackedMatrix matrix(at::randn({70, 4416}).to(at::kBFloat16), PackedMatrix::Type::BFloat16, false);
  const at::Tensor x = at::randn({70, 4416}).to(at::kBFloat16);
  const auto product = [&](int first, int rows) {
    return matrix.matmul_float(x.narrow(0, first, rows).contiguous(), {});
  };
  const at::Tensor all = product(0, 70);
  CHECK(error_of(all, at::matmul(x.to(at::kDouble), matrix.dequantize().to(at::kDouble).t())) < 1e-4);
  for (const int rows : {1, 2, 3, 4, 5, 6, 16, 17, 25, 32, 33, 48, 49, 63})
    CHECK(at::equal(product(7, rows), all.narrow(0, 7, rows)));
  CHECK(tiles.used());
}

TEST_CASE("few rows, other types and odd numbers of inputs do not need tiles") {
  if (!TileEmulator::possible() || has_tiles()) return;
  Tiles tiles;
  CHECK(vectors_follow_tiles());
  tiles.used();  // by this question, if it was asked for the first time
  const auto multiply = [](PackedMatrix::Type stored, at::ScalarType type, int rows, int inputs) {
    PackedMatrix(at::randn({40, inputs}).to(type), stored, false).product(at::randn({rows, inputs}).to(type), {});
  };
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, kVectorRows, 64);
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, 9, 48);
  multiply(PackedMatrix::Type::Float32, at::kFloat, 9, 64);
  multiply(PackedMatrix::Type::Int8, at::kFloat, 9, 64);
  CHECK_FALSE(tiles.used());
  multiply(PackedMatrix::Type::BFloat16, at::kBFloat16, kVectorRows + 1, 64);
  CHECK(tiles.used());
}

// Everything in a forward that may go through tiles: with heads as wide as tiles want them, over more than one segment
// of the cache.
TEST_CASE("attention by tiles is attention, for chains, trees and windows") {
  if (!TileEmulator::possible()) return;
  for (const auto* type : {R"("llama")", R"("mistral", "sliding_window": 40)"}) {
    INFO(type);
    const testing::TemporaryFolder folder;
    std::ofstream(folder.path() / "source.json")
        << R"({"vocab_size": 64, "hidden_size": 256, "intermediate_size": 96, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 640, "rms_norm_eps": 1e-5, "dtype": "bfloat16", "model_type": )"
        << type << "}";
    make_random(folder.path() / "source.json", folder.path(), 4);
    Tiles tiles;
    const auto exact = load_model(folder.path(), {.dtype = at::kFloat, .device = at::kCPU});
    const auto model = load_model(folder.path(), {.dtype = at::kBFloat16, .device = at::kCPU});
    Tokens text(575);
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<Token>(i * i * 7 % 61);
    const auto logits = [&](const LanguageModel& of, int rows, const Shape& shape) {
      const auto cache = of.make_cache(640);
      of.forward(ForwardItem{.input = TokenSpan(text).first(555), .cache = cache.get(), .logits = LogitRows::None});
      return of
          .forward(ForwardItem{TokenSpan(text).subspan(555, static_cast<std::size_t>(rows)), shape, cache.get(),
                               LogitRows::All})
          .logits;
    };
    const std::vector<int> parents = {0, 0, 0, 1, 1, 2, 3, 5, 5};
    const TreeShape tree{parents};
    for (const auto& [rows, shape] : {std::pair<int, Shape>{20, ChainShape{}}, {7, ChainShape{}}, {9, tree}}) {
      const at::Tensor by_tiles = logits(*model, rows, shape);
      CHECK(tiles.used());
      CHECK((by_tiles - logits(*exact, rows, shape)).abs().mean().item<float>() < 0.05f);
      assume_tiles(false);
      const at::Tensor by_vectors = logits(*model, rows, shape);
      assume_tiles(std::nullopt);
      if (!has_tiles()) assume_tiles(true);
      CHECK((by_tiles - by_vectors).abs().mean().item<float>() < 0.05f);
    }
    CHECK(at::equal(logits(*model, 20, ChainShape{}).narrow(0, 0, 7), logits(*model, 7, ChainShape{})));
  }
}

TEST_CASE("the product that decides whether tiles are used comes out right with right tiles") {
  if (!TileEmulator::possible()) return;
  Tiles tiles;
  CHECK(tiles_come_out_right());
  CHECK(tiles.used());
}

}  // namespace
}  // namespace foretell
