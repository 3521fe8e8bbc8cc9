// What a model lends to heads, and a layer run alone.
#include "framework/model/model_parts.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

#include <numeric>

#include "framework/core/error.h"
#include "framework/model/batch_plan.h"
#include "framework/model/transformer.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::make_model;
using testing::max_difference;
using testing::random_tokens;

// Every family, and the forms that differ in what is lent.
std::vector<testing::NamedConfig> lenders() {
  std::vector<testing::NamedConfig> all = testing::family_configs();
  all.push_back({"tied", testing::llama_config(R"("tie_word_embeddings": true)")});
  all.push_back({"bf16", testing::llama_config(R"("dtype": "bfloat16")")});
  all.push_back({"float64", testing::llama_config(R"("dtype": "float64")")});
  all.push_back({"bitllama", testing::bitllama_config()});
  all.push_back({"padded", testing::llama_config(R"("vocab_size": 128, "vocab_valid": 97)")});
  return all;
}

std::vector<int> positions_of(int count, int first = 0) {
  std::vector<int> positions(static_cast<std::size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

// embed -> layers -> final norm -> head, each called by itself.
at::Tensor by_parts(const LanguageModel& model, TokenSpan tokens) {
  const ModelParts& parts = *model.parts();
  const auto cache = model.make_cache(static_cast<int>(tokens.size()));
  const auto rows = static_cast<int>(tokens.size());
  const ForwardItem item{parts.embed(tokens, positions_of(rows)), ChainShape{}, cache.get(), LogitRows::None};
  ForwardOptions options;
  options.return_last_state = true;
  return parts.head().logits(parts.final_norm(model.forward(item, options).last_state));
}

TEST_CASE("embedding, layers, final norm and head, each lent, give the logits of a forward") {
  std::mt19937 random(41);
  for (const auto& [name, config] : lenders()) {
    for (const bool int8 : {false, true}) {
      if (int8 && name == "bitllama") continue;  // it is 8 bits already
      INFO(name << (int8 ? ", int8" : ""));
      const testing::TemporaryFolder folder;
      const auto model = load_model(make_model(folder.path(), config, 42), {.dtype = {}, .int8 = int8});
      const Tokens tokens = random_tokens(9, model->config().vocab_size, random);
      const at::Tensor expected = testing::logits_of(*model, tokens), found = by_parts(*model, tokens);
      REQUIRE(model->parts() != nullptr);
      CHECK(found.scalar_type() == at::kFloat);
      CHECK(model->parts()->head().vocab() == model->config().vocab_size);
      CHECK(model->parts()->head().bytes() > 0);
      CHECK(at::equal(found, expected));
    }
  }
}

TEST_CASE("the form with 8-bit weights lends its own head, and the model keeps its own") {
  std::mt19937 random(43);
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::llama_config(), 44));
  const auto rounded = model->quantised({});
  const Tokens tokens = random_tokens(5, 97, random);
  CHECK(at::equal(by_parts(*rounded, tokens), testing::logits_of(*rounded, tokens)));
  CHECK(!at::equal(by_parts(*rounded, tokens), by_parts(*model, tokens)));
  CHECK(rounded->parts()->head().bytes() < model->parts()->head().bytes());
}

TEST_CASE("a lent embedding is a copy, with learned positions only where they are given") {
  const c10::InferenceMode inference;  // else what comes out of it cannot be changed
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::gpt2_config(), 45));
  const ModelParts& parts = *model->parts();
  const Tokens tokens{3, 5, 3};
  const at::Tensor plain = parts.embed(tokens), placed = parts.embed(tokens, positions_of(3));
  CHECK(at::equal(plain[0], plain[2]));
  CHECK(!at::equal(placed[0], placed[2]));
  const at::Tensor before = plain.clone();
  parts.embed(tokens).zero_();
  CHECK(at::equal(parts.embed(tokens), before));
  CHECK_THROWS_WITH(parts.embed(Tokens{3, 89}),
                    Catch::Contains("token id 89 is outside of the model's vocabulary of 89 (ids 0 to 88)"));
}

// Plans and runs one layer at a time, as drafters with layers of their own do.
struct LayerRunner {
  const Transformer& model;
  std::vector<double> frequencies =
      model.config().position == formats::PositionKind::Rope ? rope_frequencies(model.config()) : std::vector<double>{};

  BatchPlan plan(const at::Tensor& rows, KvCache& cache, int layer) const {
    const ForwardItem item{rows, ChainShape{}, &cache, LogitRows::None};
    return plan_batch(std::span(&item, 1), {.layers = {layer, layer + 1},
                                            .context = model.config().context,
                                            .frequencies = frequencies,
                                            .magnitude = rope_magnitude(model.config().rope),
                                            .options = rows.options(),
                                            .window = model.config().sliding_window});
  }
  void store(const at::Tensor& rows, KvCache& cache, int layer) const {
    const c10::InferenceMode inference;
    model.layer(layer).store(rows, plan(rows, cache, layer), layer);
    dynamic_cast<TransformerCache&>(cache).grow({layer, layer + 1}, static_cast<int>(rows.size(0)));
  }
};

TEST_CASE("keys and values that are stored alone serve later rows as those of a forward do") {
  std::mt19937 random(46);
  for (const auto& [name, config] : lenders()) {
    INFO(name);
    const testing::TemporaryFolder folder;
    const auto model = load_model(make_model(folder.path(), config, 47));
    const auto& transformer = dynamic_cast<const Transformer&>(*model);
    const Tokens tokens = random_tokens(14, model->config().vocab_size, random);
    const TokenSpan first = TokenSpan(tokens).first(9), later = TokenSpan(tokens).subspan(9);
    const int layers = model->config().num_layers;

    const auto computed = model->make_cache(14), stored = model->make_cache(14);
    ForwardOptions options;
    options.aux_states = positions_of(layers);  // the state that enters each layer
    const ForwardResult whole = model->forward({first, ChainShape{}, computed.get(), LogitRows::None}, options);
    const LayerRunner runner{transformer};
    for (int layer = 0; layer < layers; ++layer) {
      const at::Tensor state = whole.aux_states[static_cast<std::size_t>(layer)], before = state.clone();
      runner.store(state.narrow(0, 0, 5), *stored, layer);  // in two pieces
      runner.store(state.narrow(0, 5, 4), *stored, layer);
      CHECK(at::equal(state, before));
    }
    CHECK(stored->length() == 9);
    CHECK(max_difference(testing::logits_of(*model, later, *stored), testing::logits_of(*model, later, *computed)) <
          (name == "bf16" ? 5e-2f : 1e-4f));
  }
}

TEST_CASE("attention reads the normed input that it is given, and adds to x alone") {
  const c10::InferenceMode inference;
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::llama_config(), 48));
  const auto& transformer = dynamic_cast<const Transformer&>(*model);
  const LayerRunner runner{transformer};
  const auto cache = model->make_cache(8);
  const at::Tensor x = at::randn({4, 48}), other = at::randn({4, 48});
  const auto weights = formats::Checkpoint::open(folder.path());
  const at::Tensor gain = testing::to_tensor(weights.tensors().at("model.layers.0.input_layernorm.weight"));
  const at::Tensor normed = x * (x.square().mean(1, true) + 1e-5).rsqrt() * gain;
  const auto run = [&](at::Tensor start, const at::Tensor* given) {
    const BatchPlan plan = runner.plan(start, *cache, 0);
    given ? transformer.layer(0).attention(start, *given, plan, 0) : transformer.layer(0).attention(start, plan, 0);
    return start;
  };
  const at::Tensor added = run(x.clone(), nullptr) - x;
  CHECK(max_difference(run(other.clone(), &normed) - other, added) < 1e-5f);
}

}  // namespace
}  // namespace foretell
