// The state of a run on disk.
//
// Contract: one file, written under another name and renamed, so a kill at any moment leaves the last complete one. It
// holds parameters, moments, step, DataPosition, the curve so far and the settings; loading checks a checksum over all
// of it, and a damaged file is an Error. Loading into a trainer of other settings is an Error that names the first
// difference.
#pragma once

#include <filesystem>
#include <string>

#include "framework/training/curve.h"
#include "framework/training/trainer.h"

namespace foretell::training {

struct RunState {
  std::string settings;  // the resolved YAML of everything that shapes the curve
  Curve curve;
  double seconds = 0;  // of training so far
};

void save_checkpoint(const std::filesystem::path& file, Trainer& trainer, const RunState& state);
RunState load_checkpoint(const std::filesystem::path& file, Trainer& trainer, const std::string& settings);

}  // namespace foretell::training
