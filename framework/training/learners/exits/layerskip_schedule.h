// The schedules of LayerSkip (Elhoushi et al. 2024, arXiv 2404.16710): how often a layer is left out, and how much each
// exit counts.
//
// Contract: plain arithmetic; layers count from 0 and `step` from 0, of `steps` in all.
#pragma once

#include <string>
#include <vector>

namespace foretell::training::learners::exits {

// By layer, of a model of `layers`: p_max * D(l) * S(t), with D growing exponentially from 0 at the first layer to 1 at
// the last one; S is 1, or with `warming` grows likewise along the run (training from scratch).
std::vector<double> layer_dropout(double p_max, int layers, bool warming, int step, int steps);

// By layer e(l): the sum of 0..l times `scale`, at the last layer L - 1 plus the sum of 0..L-2 times `scale`.
std::vector<double> exit_scales(double scale, int layers);

// Which exits have a loss in a step; the last layer always has one.
enum class Curriculum {
  All,
  Rotational,  // every `rotation`-th layer, the pattern moving on by one each step
  Gradual      // from the last layer downwards, one more each steps / (2 * layers): all of them at half of the run
};
Curriculum curriculum_of(const std::string& name);  // all, rotational, gradual
std::vector<bool> enabled_exits(Curriculum curriculum, int rotation, int layers, int step, int steps);

// e(l) of the enabled ones, divided by their sum; 0 for the others.
std::vector<double> exit_shares(const std::vector<double>& scales, const std::vector<bool>& enabled);

}  // namespace foretell::training::learners::exits
