// Energy and emissions by arithmetic.
//
// Source: LLMCarbon (Faiz et al. 2024, arXiv 2309.14393), operational part: FLOPs of training are 6 a parameter and
// token (of a mixture of experts the active parameters), a device computes them at a share of its peak, and a data
// centre takes PUE times what its devices take. Units are in the names.
//
// Contract: pure; nothing is assumed: watts, PUE and the grid's intensity are the caller's.
#pragma once

namespace foretell::cost {

struct TrainingRun {
  double parameters = 0, tokens = 0;
  double devices = 0, peak_flops = 0;  // of one device, per second
  double efficiency = 1;               // share of the peak that is reached
  double watts = 0;                    // of one device
  double pue = 1, kg_per_kwh = 0;
};

struct Footprint {
  double days = 0, megawatt_hours = 0, tonnes = 0;  // of CO2 equivalents
};

Footprint training_footprint(const TrainingRun& run);

// [kg] of so many joules at the device.
double emitted_kg(double joules, double pue, double kg_per_kwh);

}  // namespace foretell::cost
