#include "framework/cost/operators/speculation.h"

#include <cmath>

#include "tests/support/catch.h"

using namespace foretell;

namespace {

ModelConfig llama(int hidden, int layers, int vocab = 32000) {
  ModelConfig config = parse_model_config(
      R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
          "num_hidden_layers": 32, "num_attention_heads": 32})",
      "llama");
  config.hidden_size = hidden;
  config.intermediate_size = 8 * hidden / 3;
  config.num_layers = layers;
  config.num_heads = config.num_kv_heads = hidden / 128;
  config.vocab_size = vocab;
  return config;
}

const Hardware kDevice{
    .name = "device", .source = "", .bandwidth = 1e12, .peak = {{}, 200e12, {}, {}, {}}, .onchip_buffer = 2e7};

SpeculationCase chain(int length, double batch = 1, double context = 500) {
  return {.batch = batch, .context = context, .levels = std::vector<double>(static_cast<std::size_t>(length) + 1, 1.0)};
}

// The formula of Leviathan et al. 2022, Theorem 3.8, with the measured cost of verification in place of 1.
double leviathan(double acceptance, int length, double draft, double verify) {
  return (1 - std::pow(acceptance, length + 1)) / (1 - acceptance) / (draft * length + verify);
}

}  // namespace

TEST_CASE("a draft model on a device gains what its published formula says") {
  const ModelConfig target = llama(4096, 32), draft = llama(1024, 12);
  const DraftSource source{.kind = DraftSource::Kind::Model, .model = draft};
  for (const int length : {1, 4, 7})
    for (const double batch : {1.0, 64.0}) {
      const SpeculationCase of = chain(length, batch);
      const Expectation expected = expected_speedup(target, kDevice, source, of, {0.8});
      double drafting = 0;
      for (int i = 0; i < length; ++i)
        drafting += forward_operators(draft, kDevice, {}, {.batch = batch, .context = 500.0 + i}).seconds;
      const double plain = forward_operators(target, kDevice, {}, {.batch = batch, .context = 500}).seconds;
      ForwardShape rows{.batch = batch, .context = 500, .rows = length + 1.0};
      rows.logit_rows = length + 1.0;
      const double verify = forward_operators(target, kDevice, {}, rows).seconds;
      CHECK(expected.costs.draft == Approx(drafting).epsilon(1e-12));
      CHECK(expected.costs.verify == Approx(verify).epsilon(1e-12));
      CHECK(expected.speedup() ==
            Approx(leviathan(0.8, length, drafting / length / plain, verify / plain)).epsilon(1e-9));
      CHECK(expected.speedup() == Approx(*expected.prediction.iid).epsilon(1e-12));
      const double at_break_even =
          leviathan(*expected.prediction.break_even, length, drafting / length / plain, verify / plain);
      CHECK(at_break_even == Approx(1).epsilon(1e-6));
    }
}

TEST_CASE("acceptance by depth: what is deeper than the list is rejected") {
  const Expectation expected = expected_speedup(llama(4096, 32), kDevice, {}, chain(4), {0.9, 0.5});
  CHECK(expected.tokens == Approx(1 + 0.9 + 0.9 * 0.5));
  CHECK(expected.speedup() == Approx(*expected.prediction.position_wise).epsilon(1e-12));
}

TEST_CASE("an early exit drafts with the first layers and verifies with the others") {
  const ModelConfig target = llama(4096, 32);
  const DraftSource source{.kind = DraftSource::Kind::Exit, .exit_layer = 8};
  const SpeculationCosts costs = speculation_costs(target, kDevice, source, chain(3));
  // Of four rows three have passed eight layers when they were drafted, so verification takes 24 layers and one row of
  // eight; a layer's weights weigh the same for one row as for four.
  const double layer = forward_operators(target, kDevice, {}, {.context = 500, .layers = 2}).seconds -
                       forward_operators(target, kDevice, {}, {.context = 500, .layers = 1}).seconds;
  CHECK(costs.verify == Approx(costs.plain).epsilon(0.01));
  CHECK(costs.draft == Approx(3 * (costs.plain - 24 * layer)).epsilon(0.01));
  const SpeculationCosts all =
      speculation_costs(target, kDevice, {.kind = DraftSource::Kind::Exit, .exit_layer = 32}, chain(3));
  CHECK(all.draft == Approx(3 * all.plain).epsilon(0.01));
}

TEST_CASE("Medusa's heads are one pass, a drafting layer is one for each depth") {
  const ModelConfig target = llama(4096, 32);
  const double d = 4096, v = 32000;
  const SpeculationCosts medusa =
      speculation_costs(target, kDevice, {.kind = DraftSource::Kind::Medusa, .heads = 4}, chain(3));
  CHECK(medusa.draft == Approx(3 * (d * d + d * v) * 2 / 1e12).epsilon(0.01));
  CHECK_THROWS_WITH(speculation_costs(target, kDevice, {.kind = DraftSource::Kind::Medusa, .heads = 2}, chain(3)),
                    "a draft of 3 tokens: expected at most 2 Medusa heads");
  const SpeculationCosts layer = speculation_costs(target, kDevice, {.kind = DraftSource::Kind::Layer}, chain(3));
  const double numbers = 2 * d * d + 4 * d * d + 3 * d * (8 * 4096 / 3) + d * v;
  CHECK(layer.draft == Approx(3 * (numbers * 2 + 500 * 2 * d * 2) / 1e12).epsilon(0.01));
}

TEST_CASE("a tree is verified with all its nodes and drafted a depth at a time") {
  const ModelConfig target = llama(4096, 32), draft = llama(1024, 12);
  SpeculationCase of = chain(1);
  of.levels = {1, 4, 8};
  const Expectation expected =
      expected_speedup(target, kDevice, {.kind = DraftSource::Kind::Model, .model = draft}, of, {0.9});
  CHECK(expected.prediction.rows == 13);
  CHECK(expected.tokens == Approx(1 + 0.9 + 0.81));
  const double first = forward_operators(draft, kDevice, {}, {.context = 500}).seconds;
  CHECK(expected.costs.draft == Approx(2 * first).epsilon(0.05));
}

TEST_CASE("why speculation loses, in words") {
  const ModelConfig target = llama(4096, 32);
  const auto reason = [&](const DraftSource& source, const SpeculationCase& of, double acceptance) {
    return loss_reason(expected_speedup(target, kDevice, source, of, {acceptance}), of);
  };
  CHECK(reason({}, chain(4), 0.8) == "");
  const DraftSource large{.kind = DraftSource::Kind::Model, .model = llama(4096, 28)};
  CHECK_THAT(reason(large, chain(4), 0.9), Catch::StartsWith("the draft is too expensive: it costs 3.5"));
  CHECK_THAT(reason({}, chain(8, 512, 100), 0.7), Catch::StartsWith("the batch is too large: 9 rows in each of 512"));
  const DraftSource small{.kind = DraftSource::Kind::Model, .model = llama(1024, 12)};
  CHECK_THAT(reason(small, chain(8), 0.1), Catch::StartsWith("acceptance is too low: 1.11 tokens a step, "));
}
