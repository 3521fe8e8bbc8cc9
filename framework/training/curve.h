// The curve of a run: what was measured, at which step.
//
// Contract: rows in the order of their steps, each with the values that were measured then. As CSV, one column for each
// name in the order of its first appearance and an empty cell where nothing was measured; as SVG, a chart of the losses
// above one of the shares, for any browser.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace foretell::training {

struct CurvePoint {
  int step = 0;
  std::vector<std::pair<std::string, double>> values;
};

using Curve = std::vector<CurvePoint>;

std::string curve_csv(const Curve& curve);
std::string curve_svg(const Curve& curve, const std::string& title);

}  // namespace foretell::training
