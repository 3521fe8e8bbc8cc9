#include "framework/kernels/int4_matrix.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros.h>

#include "framework/core/error.h"
#include "framework/kernels/kernels.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using namespace testing;

struct Shape {
  std::int64_t outputs, inputs;
  int group;
};
// Whole and broken strips, one group and many.
const Shape kShapes[] = {{64, 64, 32}, {70, 96, 32}, {1, 32, 32}, {130, 256, 128}, {33, 40, 8}};

kernels::Int4Values random_values(const Shape& shape, bool zero_points) {
  const std::int64_t groups = shape.inputs / shape.group;
  kernels::Int4Values values{.group = shape.group};
  values.q = at::randint(16, {shape.outputs, shape.inputs}, at::kByte);
  values.scales = at::randn({shape.outputs, groups}).to(at::kHalf).to(at::kFloat);
  if (zero_points) values.zeros = at::randint(16, {shape.outputs, groups}, at::kByte);
  return values;
}

at::Tensor weights_of(const kernels::Int4Values& values) {
  const at::Tensor q = values.q.to(at::kFloat).unflatten(1, {-1, values.group});
  const at::Tensor less = values.zeros.defined() ? q.sub(values.zeros.to(at::kFloat).unsqueeze(2)) : q.sub(8);
  return less.mul(values.scales.unsqueeze(2)).flatten(1);
}

TEST_CASE("a 4-bit matrix is the weights that its numbers stand for") {
  for (const Shape& shape : kShapes) {
    for (const bool zero_points : {false, true}) {
      INFO(shape.outputs << " x " << shape.inputs << ", groups of " << shape.group << (zero_points ? ", zeros" : ""));
      const kernels::Int4Values values = random_values(shape, zero_points);
      const kernels::Int4Matrix matrix(values, false);
      const at::Tensor weights = weights_of(values);
      CHECK(matrix.dequantize().equal(weights));
      const at::Tensor x = at::randn({11, shape.inputs}), bias = at::randn({shape.outputs});
      const at::Tensor expected = at::linear(x.to(at::kDouble), weights.to(at::kDouble), bias.to(at::kDouble));
      CHECK(max_difference(matrix.product(x, bias).to(at::kDouble), expected) < 1e-3);
      CHECK(max_difference(matrix.product(x.to(at::kBFloat16), bias).to(at::kDouble), expected) <
            0.05 * expected.abs().max().item<double>());
      at::Tensor sum = at::ones({11, shape.outputs});
      matrix.matmul_accumulate(x, bias, sum);
      CHECK(max_difference(sum.to(at::kDouble), expected.add(1)) < 1e-3);
    }
  }
}

TEST_CASE("a gated 4-bit matrix multiplies the activated gate") {
  for (const std::int64_t width : {16, 33, 96}) {
    const kernels::Int4Values values = random_values({2 * width, 64, 32}, true);
    const kernels::Int4Matrix matrix(values, true);
    CHECK(matrix.dequantize().equal(weights_of(values)));
    const at::Tensor x = at::randn({5, 64}), bias = at::randn({2 * width});
    const at::Tensor both = at::linear(x, weights_of(values), bias);
    const at::Tensor expected =
        kernels::activate(both.narrow(1, 0, width).contiguous(), Activation::Silu).mul(both.narrow(1, width, width));
    CHECK(max_difference(matrix.matmul_glu(x, bias, Activation::Silu), expected) <
          1e-3 * both.abs().max().item<float>());
  }
}

TEST_CASE("a row's product with a 4-bit matrix does not depend on the rows beside it, to the bit") {
  const kernels::Int4Values values = random_values({130, 256, 32}, true);
  const kernels::Int4Matrix matrix(values, false), gated(values, true);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::randn({67, 256}).to(type), whole = matrix.matmul_float(x, {});
    const at::Tensor glu = gated.matmul_glu(x, {}, Activation::Silu);
    for (const std::int64_t count : {1, 2, 3, 4, 5, 8, 9, 16, 33}) {
      for (std::int64_t first = 0; first + count <= 67; first += 7) {
        INFO(count << " rows from " << first);
        const at::Tensor part = x.narrow(0, first, count).contiguous();
        REQUIRE(matrix.matmul_float(part, {}).equal(whole.narrow(0, first, count)));
        REQUIRE(gated.matmul_glu(part, {}, Activation::Silu).equal(glu.narrow(0, first, count)));
      }
    }
  }
}

TEST_CASE("inputs in another order meet the elements that they are for") {
  kernels::Int4Values values = random_values({64, 96, 32}, false);
  const at::Tensor x = at::randn({3, 96}), plain = kernels::Int4Matrix(values, false).product(x, {});
  values.order = at::randperm(96);
  const kernels::Int4Matrix matrix(values, false);
  at::Tensor shuffled = at::empty_like(x);
  shuffled.index_copy_(1, values.order, x);
  CHECK(matrix.product(shuffled, {}).equal(plain));
}

TEST_CASE("rounding to 4 bits is off by at most half a step, and keeps what 4 bits can say") {
  for (const bool zero_points : {false, true}) {
    const at::Tensor weight = at::randn({20, 128});
    const kernels::Int4Values values = kernels::rounded_to_int4(weight, {.group = 32, .zero_points = zero_points});
    const at::Tensor steps = values.scales.abs().unsqueeze(2).expand({20, 4, 32}).flatten(1);
    // The end of a symmetric range that is 7 steps long is cut.
    const at::Tensor off = weights_of(values).sub(weight).abs().div(steps);
    CHECK(off.max().item<float>() < 1.05);
    CHECK(off.gt(0.51).to(at::kFloat).mean().item<float>() < 0.05);
    const kernels::Int4Values again =
        kernels::rounded_to_int4(weights_of(values), {.group = 32, .zero_points = zero_points});
    CHECK(max_difference(weights_of(again), weights_of(values)) < 0.01);
  }
  CHECK(weights_of(kernels::rounded_to_int4(at::zeros({2, 32}), {})).equal(at::zeros({2, 32})));
  CHECK_THROWS_WITH(kernels::rounded_to_int4(at::randn({2, 40}), {.group = 32}),
                    Catch::Contains("groups of 32 do not"));
}

TEST_CASE("dtype int4: every family's logits stay near, and rows are what they are alone") {
  for (const auto& [name, config] : family_configs()) {
    if (name == "bitllama") continue;
    INFO(name);
    const TemporaryFolder folder;
    const auto path = make_model(folder.path(), config, 42);
    std::shared_ptr<const LanguageModel> model;
    try {
      model = load_model(path, {.dtype = {}, .int4 = kernels::Int4Format{.group = 8}});
    } catch (const Error& error) {
      CHECK_THAT(std::string(error.what()), Catch::Contains("groups of 8 do not divide"));
      continue;
    }
    std::mt19937 random(1);
    const Tokens tokens = random_tokens(9, model->config().vocab_size, random);
    const at::Tensor whole = logits_of(*model, tokens), exact = logits_of(*load_model(path), tokens);
    CHECK(whole.isfinite().all().item<bool>());
    CHECK(whole.sub(exact).abs().mean().item<double>() < 0.5 * exact.std().item<double>());
    const auto cache = model->make_cache(9);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      CHECK(max_difference(logits_of(*model, TokenSpan(tokens).subspan(i, 1), *cache)[0], whole[i]) < 1e-4f);
  }
}

TEST_CASE("what int4 cannot do is one line") {
  const TemporaryFolder folder;
  const auto path = make_model(folder.path(), llama_config(), 1);
  CHECK_THROWS_WITH(load_model(path, {.dtype = {}, .int4 = kernels::Int4Format{.group = 64}}),
                    Catch::Contains("groups of 64 do not divide the") && Catch::Contains("self_attn"));
  CHECK_THROWS_WITH(load_model(path, {.dtype = at::kDouble, .int4 = kernels::Int4Format{.group = 8}}),
                    Catch::Contains("f64"));
  CHECK(model::parse_int4("int4")->group == 32);
  CHECK(model::parse_int4("int4z:128")->zero_points);
  CHECK(!model::parse_int4("int8"));
  for (const char* wrong : {"int4:", "int4:0", "int4:12", "int4:x", "int4z:-8", "int4:8x", "int4:99999999999"})
    CHECK_THROWS_WITH(model::parse_int4(wrong), Catch::Contains("a multiple of 8"));
}

}  // namespace
}  // namespace foretell
