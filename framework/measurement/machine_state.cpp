#include "framework/measurement/machine_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "framework/core/text.h"
#include "framework/io/system_file.h"

namespace foretell::measurement {
namespace {

namespace fs = std::filesystem;

constexpr int kMostCpus = 1 << 16;  // a list that names more is not the kernel's

// The kernel's "0-3,5"; nothing if it is not one.
std::optional<std::vector<int>> parse_cpu_list(std::string_view list) {
  std::vector<int> cpus;
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    const std::size_t dash = item.find('-');
    const auto first = io::system_number<int>(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : io::system_number<int>(item.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kMostCpus) return std::nullopt;
    for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    if (cpus.size() > static_cast<std::size_t>(kMostCpus)) return std::nullopt;
  }
  if (cpus.empty()) return std::nullopt;
  return cpus;
}

void read_load(const fs::path& proc, MachineState& state) {
  std::istringstream words(io::read_system_file(proc / "loadavg").value_or(""));
  for (std::optional<double>* load : {&state.load_1, &state.load_5, &state.load_15}) {
    std::string word;
    words >> word;
    *load = io::system_number<double>(word);
  }
}

}  // namespace

MachineState read_machine_state(const MachineRoots& roots) {
  MachineState state;
  read_load(roots.proc, state);
  const fs::path cpu_folder = roots.sys / "devices/system/cpu";
  const auto cpus = parse_cpu_list(io::read_system_file(cpu_folder / "online").value_or(""));
  if (!cpus) return state;
  state.cpus = static_cast<int>(cpus->size());
  for (const int cpu : *cpus) {
    const auto governor = io::read_system_file(cpu_folder / fmt::format("cpu{}/cpufreq/scaling_governor", cpu));
    if (governor && std::find(state.governors.begin(), state.governors.end(), *governor) == state.governors.end())
      state.governors.push_back(*governor);
  }
  return state;
}

std::vector<std::string> timing_doubts(const MachineState& before, int threads) {
  std::vector<std::string> doubts;
  if (before.load_1 && before.cpus && *before.load_1 + threads > *before.cpus + 0.5)
    doubts.push_back(fmt::format("the load was {:.1f} before {} of ours came to {}", *before.load_1,
                                 counted(threads, "thread"), counted(*before.cpus, "CPU")));
  const bool fixed = before.governors.empty() || before.governors == std::vector<std::string>{"performance"};
  if (!fixed) doubts.push_back(fmt::format("the clock changes (governor {})", fmt::join(before.governors, ", ")));
  return doubts;
}

}  // namespace foretell::measurement
