// How far a run is.
//
// Contract: written to standard error: one line that is rewritten on a terminal, elsewhere a line when a cell starts
// and ends and at most every ten seconds in between. The time left is that of the current cell, from its own pace.
#pragma once

#include <string>
#include <utility>

#include "framework/core/stopwatch.h"

namespace foretell::util {

// 75 -> "1:15", 3700 -> "1:01:40".
std::string clock_time(double seconds);

class Progress {
 public:
  explicit Progress(int cells, std::string unit = "prompts") : cells_(cells), cell_unit_(std::move(unit)) {}
  void start_cell(const std::string& name, int total);
  // Something else that is done for the same cell.
  void start_part(const std::string& name, int total, const std::string& unit);
  void advance(int count);
  void finish_cell();
  // What is to be said in between, on a line of its own.
  void note(const std::string& text);

 private:
  void show(bool final);

  int cells_, cell_ = 0, done_ = 0, total_ = 0;
  std::string cell_unit_, unit_, name_;
  Stopwatch since_start_, since_shown_;
};

}  // namespace foretell::util
