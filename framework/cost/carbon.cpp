#include "framework/cost/carbon.h"

namespace foretell::cost {
namespace {

constexpr double kTrainingFlops = 6;  // a parameter and token: two forward, four backward
constexpr double kSecondsPerDay = 86400, kHoursPerDay = 24, kJoulesPerKwh = 3.6e6, kMega = 1e6, kKgPerTonne = 1000;
constexpr double kKwhPerMwh = 1000;

}  // namespace

Footprint training_footprint(const TrainingRun& run) {
  Footprint out;
  const double flops = kTrainingFlops * run.parameters * run.tokens;
  out.days = flops / (run.devices * run.peak_flops * run.efficiency) / kSecondsPerDay;
  out.megawatt_hours = run.watts * run.devices * out.days * kHoursPerDay * run.pue / kMega;
  out.tonnes = out.megawatt_hours * kKwhPerMwh * run.kg_per_kwh / kKgPerTonne;
  return out;
}

double emitted_kg(double joules, double pue, double kg_per_kwh) { return joules / kJoulesPerKwh * pue * kg_per_kwh; }

}  // namespace foretell::cost
