// A roofline as SVG or PNG: attainable performance over arithmetic intensity, both logarithmic (Williams et al. 2009).
//
// Contract: as plot.h. The roofs are those of the device for products of `bits`; the ridge is where they meet. A point
// for each operator that computes anything: its bound, and what was measured where something was. Operators whose
// bounds are nearly the same share a label.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/report/plot.h"
#include "framework/cost/operators/hardware.h"

namespace foretell::report {

struct RooflinePoint {
  std::string name;
  double intensity = 0;                 // [operations / byte]
  double bound = 0;                     // [operations / s]
  std::optional<double> measured = {};  // likewise
};

struct RooflineChart {
  cost::operators::Hardware hardware;
  int bits = 16;
  double bandwidth = 0;  // of the pass: Hardware::bandwidth_over() what it reads
  std::string title;     // "decode, 1 token behind 1024"
  std::vector<RooflinePoint> points;
};

// The text that gnuplot is given. An Error where no operator computes.
PlotFiles roofline_files(const RooflineChart& chart, const std::string& terminal);
void draw_roofline(const RooflineChart& chart, const std::filesystem::path& file);

}  // namespace foretell::report
