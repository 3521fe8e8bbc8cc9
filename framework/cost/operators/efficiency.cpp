#include "framework/cost/operators/efficiency.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/cost/carbon.h"

namespace foretell::cost::operators {
namespace {

void add_energy(const Hardware& hardware, const EfficiencyCase& of, Efficiency& out) {
  const std::optional<double> watts = of.watts ? of.watts : hardware.watts;
  if (!watts) return;
  const double joules = *watts * out.answer / (of.batch * of.output);
  out.joules_per_token = joules;
  constexpr double kGrams = 1000, kTokens = 1000;
  if (of.kg_per_kwh) out.grams_per_kilotoken = kGrams * kTokens * emitted_kg(joules, of.pue, *of.kg_per_kwh);
}

}  // namespace

Efficiency efficiency_of(const formats::ModelConfig& model, const Hardware& hardware, const EfficiencyCase& of) {
  FORETELL_CHECK(of.prompt >= 1 && of.output >= 1 && of.batch >= 1, "{} + {} tokens", of.prompt, of.output);
  const auto forward = [&](double context, double rows) {
    return forward_operators(model, hardware, of.precision,
                             {.batch = of.batch, .context = context, .rows = rows, .fused = of.fused});
  };
  const ForwardOperators prefill = forward(0, of.prompt);
  const int half = of.output / 2;
  const ForwardOperators middle = forward(of.prompt + half, 1);
  const ForwardOperators last = forward(of.prompt + of.output - 1, 1);
  Efficiency out{.parameters = parameters_of(model, false), .active_parameters = parameters_of(model, true)};
  out.weight_bytes = middle.weight_bytes;
  // Of the first tokens: windows do not grow without end.
  out.cache_bytes_per_token = forward(0, 1).cache_bytes / of.batch;
  out.peak_bytes = std::max(prefill.memory(), last.memory());
  out.operations_per_token = middle.total.operations / of.batch;
  out.first_token = prefill.seconds;
  out.per_token = middle.seconds;
  out.answer =
      generation_seconds(model, hardware, of.precision, of.prompt, of.output, {.batch = of.batch, .fused = of.fused});
  out.tokens_per_second = of.batch * of.output / out.answer;
  // The peak of the layers' matrices, where nearly all operations are.
  const double peak = hardware.peak_of(std::max(of.precision.weights, of.precision.activations));
  out.mfu = middle.total.operations / middle.seconds / peak;
  out.mbu = (middle.total.load_weight + middle.total.load_kv_cache) / middle.seconds / hardware.bandwidth;
  add_energy(hardware, of, out);
  return out;
}

}  // namespace foretell::cost::operators
