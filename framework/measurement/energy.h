// What a run took from the wall, as far as the processor counts it.
//
// Source: the kernel's powercap files of RAPL, <root>/intel-rapl:<zone>[:<part>]/{name, energy_uj,
// max_energy_range_uj}; AMD's processors appear under the same names. Units: joules.
//
// Contract: zones named "package-..." are added up, and "dram" is reported beside them. Not counted are the parts core
// and uncore and the mirror intel-rapl-mmio, which the packages hold already, and psys, which holds the packages.
// Counters wrap at their range: update() has to be called before one can have gone round (262 kJ last 44 minutes at 100
// W). They count the whole machine, not this process. A counter that cannot be read makes energy absent, with the
// reason; never 0. Then a power that the user stated stands in, power times time, and the result says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::measurement {

enum class EnergySource { None, Counters, StatedPower };
std::string_view name_of(EnergySource source);  // "none", "rapl", "stated power"

struct EnergyUse {
  EnergySource source = EnergySource::None;
  std::optional<double> package_joules = {};  // all packages; of a stated power, everything
  std::optional<double> dram_joules = {};     // absent where it is not counted
  std::string reason = {};                    // why counters were not read; empty if they were

  std::optional<double> joules() const;  // both together
  // [J / token] absent without energy or tokens.
  std::optional<double> joules_per_token(std::int64_t tokens) const;
};

struct EnergyOptions {
  std::filesystem::path root = "/sys/class/powercap";
  std::optional<double> stated_watts = {};  // what the machine draws during a run, by the user's word
};

class EnergyMeter {
 public:
  // Finds the counters and starts at once.
  explicit EnergyMeter(EnergyOptions options = {});

  bool counts() const { return reason_.empty(); }
  // From now on.
  void start();
  // Adds what was used since the last call.
  void update();
  // Since start(), which was `elapsed_ns` ago.
  EnergyUse used(std::int64_t elapsed_ns);

 private:
  struct Zone {
    std::filesystem::path counter;
    bool dram = false;
    std::optional<std::uint64_t> range;  // microjoules
    std::uint64_t last = 0;              // microjoules
    double used = 0;                     // microjoules
  };
  void find_zones();
  bool read(const Zone& zone, std::uint64_t& value);

  EnergyOptions options_;
  std::vector<Zone> zones_;
  std::string reason_;
};

}  // namespace foretell::measurement
