#include "framework/cost/operators/efficiency.h"

#include "framework/cost/carbon.h"
#include "tests/support/catch.h"

using namespace foretell;

TEST_CASE("LLMCarbon's training of GPT-3") {
  // arXiv 2309.14393, table 4: 14.8 days, 1,287 MWh and 552.1 t are published; the formula gives a little more.
  const Footprint gpt3 = training_footprint({.parameters = 175e9,
                                             .tokens = 300e9,
                                             .devices = 10000,
                                             .peak_flops = 125e12,
                                             .efficiency = 0.197,
                                             .watts = 330,
                                             .pue = 1.1,
                                             .kg_per_kwh = 0.429});
  CHECK(gpt3.days == Approx(14.805).epsilon(1e-4));
  CHECK(gpt3.megawatt_hours == Approx(1289.85).epsilon(1e-4));
  CHECK(gpt3.tonnes == Approx(553.34).epsilon(1e-4));
  CHECK(emitted_kg(3.6e6, 1.2, 0.5) == Approx(0.6));
}

TEST_CASE("metrics of a model on a device, by its papers' arithmetic") {
  const ModelConfig llama = parse_model_config(
      R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
          "num_hidden_layers": 32, "num_attention_heads": 32})",
      "llama");
  const Hardware device{
      .name = "device", .source = "", .bandwidth = 1e12, .peak = {{}, 200e12, {}, {}, {}}, .onchip_buffer = 2e7};
  const Efficiency e = efficiency_of(
      llama, device,
      {.batch = 2, .prompt = 100, .output = 50, .fused = true, .watts = 300, .pue = 1.2, .kg_per_kwh = 0.4});
  CHECK(e.parameters == 6738415616.0);
  CHECK(e.active_parameters == 6738415616.0 - 32000 * 4096);
  CHECK(e.weight_bytes == 2 * 6738415616.0);
  CHECK(e.cache_bytes_per_token == 524288);
  // Two operations a parameter, and four a channel of each token that is attended to.
  CHECK(e.operations_per_token == Approx(2 * 6607077376.0 + 32 * 4 * 4096 * 126.0).epsilon(2e-3));
  // Memory decides: all weights and two sequences' tokens.
  CHECK(e.per_token == Approx((2 * 6607077376.0 + 2 * 126 * 524288.0) / 1e12).epsilon(2e-3));
  CHECK(e.mbu == Approx(1).epsilon(2e-3));
  CHECK(e.mfu == Approx(2 * e.operations_per_token / e.per_token / 200e12));
  CHECK(e.answer == Approx(e.first_token + 49 * e.per_token).epsilon(1e-3));
  CHECK(e.tokens_per_second == Approx(100 / e.answer));
  CHECK(*e.joules_per_token == Approx(300 * e.answer / 100));
  CHECK(*e.grams_per_kilotoken == Approx(*e.joules_per_token * 1000 / 3.6e6 * 1.2 * 400));
  const Efficiency without = efficiency_of(llama, device, {});
  CHECK(!without.joules_per_token);
  CHECK(!without.grams_per_kilotoken);
}
