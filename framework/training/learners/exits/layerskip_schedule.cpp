#include "framework/training/learners/exits/layerskip_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace foretell::training::learners::exits {
namespace {

// 0 at 0 and 1 at `last`; 1 where there is no way between.
double doubling(int at, int last) { return last > 0 ? std::exp(at * std::numbers::ln2 / last) - 1 : 1; }

}  // namespace

std::vector<double> layer_dropout(double p_max, int layers, bool warming, int step, int steps) {
  const double now = warming ? doubling(std::min(step, steps - 1), steps - 1) : 1;
  std::vector<double> out;
  out.reserve(static_cast<std::size_t>(layers));
  for (int layer = 0; layer < layers; ++layer) out.push_back(now * doubling(layer, layers - 1) * p_max);
  return out;
}

std::vector<double> exit_scales(double scale, int layers) {
  std::vector<double> out;
  for (int layer = 0; layer < layers; ++layer) {
    const double last = layers - 1.0;
    out.push_back(layer < layers - 1 ? scale * layer * (layer + 1) / 2 : last + scale * last * (last - 1) / 2);
  }
  if (layers == 1) out[0] = 1;  // nothing to weigh against
  return out;
}

Curriculum curriculum_of(const std::string& name) {
  return name == "rotational" ? Curriculum::Rotational : name == "gradual" ? Curriculum::Gradual : Curriculum::All;
}

std::vector<bool> enabled_exits(Curriculum curriculum, int rotation, int layers, int step, int steps) {
  std::vector<bool> on(static_cast<std::size_t>(layers), true);
  for (int layer = 0; layer + 1 < layers; ++layer) {
    const auto at = static_cast<std::size_t>(layer);
    if (curriculum == Curriculum::Rotational) on[at] = layer % rotation == step % rotation;
    if (curriculum == Curriculum::Gradual) on[at] = 2.0 * step * layers >= static_cast<double>(layers - layer) * steps;
  }
  return on;
}

std::vector<double> exit_shares(const std::vector<double>& scales, const std::vector<bool>& enabled) {
  double sum = 0;
  for (std::size_t i = 0; i < scales.size(); ++i) sum += enabled[i] ? scales[i] : 0;
  std::vector<double> out;
  for (std::size_t i = 0; i < scales.size(); ++i) out.push_back(enabled[i] ? scales[i] / sum : 0);
  return out;
}

}  // namespace foretell::training::learners::exits
