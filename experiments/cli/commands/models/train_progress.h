// How far a training run is.
//
// Contract: as progress.h: standard error, one line that is rewritten on a terminal; elsewhere a line at the first and
// last step and at most every ten seconds in between.
#pragma once

#include <string>

#include "framework/core/stopwatch.h"
#include "framework/training/training_run.h"

namespace foretell::cli::commands::models {

class TrainProgressLine {
 public:
  void show(const training::TrainProgress& progress);
  // What is to be said in between, on a line of its own.
  void note(const std::string& text);

 private:
  Stopwatch since_shown_;
  bool shown_ = false;
};

}  // namespace foretell::cli::commands::models
