// How far a study is: a line for each cell that runs now, and one for the whole with the time that is left.
//
// Contract: written to standard error. On a terminal the lines are rewritten in place; elsewhere a line when a cell has
// ended, and one for the study at most every ten seconds. The time left comes from each cell's own pace; a cell that
// has not run yet is expected to take what the others took.
#pragma once

#include <string>
#include <vector>

#include "framework/core/stopwatch.h"

namespace foretell::runner {

class StudyProgress {
 public:
  // What is counted: a cell, or the baseline of a group. `runs`: prompts times repeats.
  int add(const std::string& name, int runs, bool is_cell = true);
  void set_done(int task, int runs);  // by an earlier process
  void set_active(std::vector<int> tasks);
  // Some runs of a task have ended; they took this long and gave so many tokens.
  void advance(int task, int runs, double seconds, double tokens);
  void finish(int task);
  // What is done for a cell besides its prompts; empty: nothing.
  void set_activity(const std::string& text);
  // What is to be said in between, on a line of its own.
  void note(const std::string& text);
  // The last state stays on the screen.
  void close();

 private:
  struct Task {
    std::string name;
    int runs = 0, done = 0, timed = 0;
    double seconds = 0, tokens = 0;
    bool is_cell = true, finished = false;
  };

  double seconds_left() const;
  std::string study_line() const;
  std::string task_line(const Task& task) const;
  void show(bool now);
  void erase();

  std::vector<Task> tasks_;
  std::vector<int> active_;
  std::string activity_;
  int lines_ = 0;  // on the screen
  Stopwatch since_start_, since_shown_;
};

}  // namespace foretell::runner
