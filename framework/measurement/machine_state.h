// What state the machine was in when something was timed on it.
//
// Contract: read from the kernel's files below the two roots; what is not told is absent. Nothing is changed on the
// machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace foretell::measurement {

struct MachineState {
  std::optional<int> cpus = {};             // online
  std::vector<std::string> governors = {};  // of the clock, each once; empty where the clock is not ours to see
  std::optional<double> load_1 = {}, load_5 = {}, load_15 = {};  // threads that run or wait, over minutes
};

struct MachineRoots {
  std::filesystem::path sys = "/sys", proc = "/proc";
};
MachineState read_machine_state(const MachineRoots& roots = {});

// What makes times on this machine doubtful, a phrase each; `threads` are the run's own. Before a run, when they rest,
// the load is others'.
std::vector<std::string> timing_doubts(const MachineState& before, int threads);

}  // namespace foretell::measurement
