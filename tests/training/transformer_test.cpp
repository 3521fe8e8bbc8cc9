// The training forward against the inference forward, and its derivative against finite differences.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <c10/core/GradMode.h>

#include "framework/model/load_model.h"
#include "framework/training/language_loss.h"
#include "framework/training/model_folder.h"
#include "tests/support/catch.h"
#include "tests/training/helpers.h"

namespace foretell {
namespace {

using testing::counted_tokens;
using testing::sample_of;

struct Family {
  const char* name;
  std::string config;
};

std::vector<Family> families() {
  return {{"llama", testing::small_llama()},
          {"llama, tied, every head its own keys",
           testing::small_llama(R"("tie_word_embeddings": true, "num_key_value_heads": 4)")},
          {"llama with biases", testing::small_llama(R"("attention_bias": true, "mlp_bias": true)")},
          {"llama, neighbouring pairs", testing::small_llama(R"("foretell_rope_interleave": true)")},
          {"qwen2", testing::small_qwen2()},
          {"qwen2, tied", testing::small_qwen2(R"("tie_word_embeddings": true)")},
          {"gpt2", testing::small_gpt2()},
          {"gpt2, scaled by layer", testing::small_gpt2(R"("scale_attn_by_inverse_layer_idx": true)")}};
}

at::Tensor inference_logits(const LanguageModel& model, TokenSpan tokens) {
  const auto cache = model.make_cache(static_cast<int>(tokens.size()));
  return model
      .forward(ForwardItem{.input = tokens, .shape = ChainShape{}, .cache = cache.get(), .logits = LogitRows::All})
      .logits;
}

// Row groups of two lengths, one sequence of which is padded.
std::vector<Sample> three_samples() {
  return {sample_of(counted_tokens(13, 61, 1)), sample_of(counted_tokens(24, 61, 2)),
          sample_of(counted_tokens(22, 61, 3))};
}

TEST_CASE("Training and inference compute the same logits, in batches of several lengths") {
  for (const Family& family : families()) {
    INFO(family.name);
    const auto model = testing::small_model(family.config);
    const auto inference = model->snapshot(at::kFloat);
    std::vector<Sample> samples = three_samples();
    std::stable_sort(samples.begin(), samples.end(),
                     [](const Sample& a, const Sample& b) { return a.tokens.size() > b.tokens.size(); });
    const TrainBatch batch = make_batch(samples, at::kCPU);
    REQUIRE(batch.groups.size() == 2);
    const c10::NoGradGuard no_grad;
    const at::Tensor logits = model->logits(loss_states(model->forward(batch), batch));
    std::int64_t row = 0;
    for (const Sample& sample : samples) {
      const auto rows = static_cast<std::int64_t>(sample.tokens.size()) - 1;
      const at::Tensor expected =
          inference_logits(*inference, TokenSpan(sample.tokens).first(static_cast<std::size_t>(rows)));
      CHECK((logits.narrow(0, row, rows) - expected).abs().max().item<float>() < 2e-4f);
      row += rows;
    }
    CHECK(row == logits.size(0));
  }
}

double loss_value(const LanguageLoss& loss, const TrainBatch& batch) {
  const c10::NoGradGuard no_grad;
  return loss.loss(batch).total.item<double>();
}

TEST_CASE("Gradients agree with finite differences, parameter by parameter") {
  for (const Family& family : families()) {
    INFO(family.name);
    const auto model = testing::small_model(family.config);
    const LanguageLoss loss(model);
    std::vector<Sample> samples = three_samples();
    for (std::size_t i = 0; i < samples[0].weights.size(); i += 2)
      samples[0].weights[i] = 0.25f * static_cast<float>(i % 3);
    const TrainBatch batch = make_batch(samples, at::kCPU);
    loss.loss(batch).total.backward();
    for (const TrainParameter& parameter : loss.parameters()) {
      INFO(parameter.name);
      REQUIRE(parameter.value.grad().defined());
      // Along the gradient itself the slope is its norm, and rounding matters least.
      const double norm = at::linalg_vector_norm(parameter.value.grad()).item<double>();
      REQUIRE(norm > 1e-6);
      const at::Tensor direction = parameter.value.grad() / norm;
      const double size = at::linalg_vector_norm(parameter.value.detach()).item<double>();
      const double step = std::min(0.02 * size, 0.01 / norm);
      const at::Tensor value = parameter.value.detach();
      value.add_(direction, step);
      const double above = loss_value(loss, batch);
      value.sub_(direction, 2 * step);
      const double below = loss_value(loss, batch);
      value.add_(direction, step);
      CHECK((above - below) / (2 * step) == Approx(norm).epsilon(0.02));
    }
  }
}

TEST_CASE("A saved model loads as the model that was trained") {
  for (const Family& family : families()) {
    INFO(family.name);
    const testing::TemporaryFolder folder;
    const auto model = testing::small_model(family.config);
    write_model_config(folder.path(), model->config());
    write_weights(folder.path(), *model);
    const Tokens tokens = counted_tokens(20, 61, 5);
    const auto loaded = load_model(folder.path());
    CHECK(at::equal(inference_logits(*loaded, tokens), inference_logits(*model->snapshot(at::kFloat), tokens)));
    TrainableTransformer again(load_model_config(folder.path()), at::kCPU);
    again.load(folder.path());
    const auto before = model->parameters(), after = again.parameters();
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i].value, after[i].value));
  }
}

TEST_CASE("New weights depend on the seed and nothing else") {
  const ModelConfig config = parse_model_config(testing::small_llama(), "config.json");
  TrainableTransformer a(config, at::kCPU), b(config, at::kCPU), c(config, at::kCPU);
  a.initialise(1);
  b.initialise(1);
  c.initialise(2);
  CHECK(at::equal(a.parameters()[0].value, b.parameters()[0].value));
  CHECK_FALSE(at::equal(a.parameters()[0].value, c.parameters()[0].value));
  CHECK(a.parameters()[0].value.detach().std().item<double>() == Approx(0.02).epsilon(0.1));
}

TEST_CASE("A mimetic start makes every query like the key that its head reads, and outputs like transposed values") {
  TrainableTransformer model(parse_model_config(testing::small_llama(), "config.json"), at::kCPU);
  model.initialise(1, TrainableTransformer::Start::Mimetic);
  std::map<std::string, at::Tensor> weights;
  for (const NamedWeight& weight : model.named_weights()) weights[weight.spec.name] = weight.value;
  const auto block = [&](const std::string& part, std::int64_t index) {
    const at::Tensor all = weights.at("model.layers.1.self_attn." + part + "_proj.weight");
    return (part == "o" ? all.t() : all).narrow(0, index * 8, 8).reshape({-1});
  };
  const auto likeness = [](const at::Tensor& a, const at::Tensor& b) {
    return (a.dot(b) / (a.norm() * b.norm())).item<double>();
  };
  for (std::int64_t head = 0; head < 4; ++head) {
    CHECK(likeness(block("q", head), block("k", head / 2)) == Approx(0.8).margin(0.1));
    CHECK(likeness(block("q", head), block("k", 1 - head / 2)) == Approx(0.0).margin(0.25));
    CHECK(likeness(block("o", head), block("v", head / 2)) > 0.5);
  }
}

// The share of places in the second half of a text, which repeats the first, where the token that is to come has the
// highest logit of all but the current one.
double copied(TrainableTransformer::Start start) {
  const auto config =
      parse_model_config(R"({"model_type": "llama", "vocab_size": 300, "hidden_size": 256, "intermediate_size": 256,
      "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 64, "max_position_embeddings": 512,
      "rope_theta": 500000.0, "tie_word_embeddings": true})",
                         "config.json");
  TrainableTransformer model(config, at::kCPU);
  model.initialise(1, start);
  const auto untrained = model.snapshot(at::kFloat);
  constexpr int kHalf = 80;
  Tokens text;
  for (int i = 0; i < 2 * kHalf; ++i) text.push_back(7 * (i % kHalf) % 300);
  const auto cache = untrained->make_cache(2 * kHalf);
  const at::Tensor logits =
      untrained->forward(ForwardItem{text, ChainShape{}, cache.get(), LogitRows::All}).logits.contiguous();
  int right = 0, asked = 0;
  for (int i = kHalf + 4; i + 1 < 2 * kHalf; ++i, ++asked) {
    at::Tensor row = logits[i].clone();
    row[text[i]] = -1e9;
    right += row.argmax().item<std::int64_t>() == text[i + 1];
  }
  return static_cast<double>(right) / asked;
}

TEST_CASE("a model that starts with induction repeats a text before it has learned anything") {
  CHECK(copied(TrainableTransformer::Start::Induction) > 0.9);
  CHECK(copied(TrainableTransformer::Start::Mimetic) < 0.2);
}

TEST_CASE("a model without room for induction is refused with the reason") {
  for (const std::string& config : {testing::small_llama(), testing::small_gpt2()}) {
    TrainableTransformer model(parse_model_config(config, "config.json"), at::kCPU);
    CHECK_THROWS_WITH(model.initialise(1, TrainableTransformer::Start::Induction), Catch::Contains("induction"));
  }
}

}  // namespace
}  // namespace foretell
