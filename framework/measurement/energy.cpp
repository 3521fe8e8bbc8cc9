#include "framework/measurement/energy.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "framework/io/system_file.h"

namespace foretell::measurement {
namespace {

namespace fs = std::filesystem;

// "intel-rapl:0", "intel-rapl:0:2"; the control type itself and its memory-mapped mirror are none.
bool is_zone(const std::string& folder) { return folder.starts_with("intel-rapl:"); }

}  // namespace

std::string_view name_of(EnergySource source) {
  switch (source) {
    case EnergySource::None: return "none";
    case EnergySource::Counters: return "rapl";
    case EnergySource::StatedPower: return "stated power";
  }
  return "";
}

std::optional<double> EnergyUse::joules() const {
  if (!package_joules) return std::nullopt;
  return *package_joules + dram_joules.value_or(0.0);
}

std::optional<double> EnergyUse::joules_per_token(std::int64_t tokens) const {
  const std::optional<double> total = joules();
  if (!total || tokens <= 0) return std::nullopt;
  return *total / static_cast<double>(tokens);
}

EnergyMeter::EnergyMeter(EnergyOptions options) : options_(std::move(options)) {
  find_zones();
  start();
}

void EnergyMeter::find_zones() {
  std::error_code code;
  fs::directory_iterator folder(options_.root, code);
  if (code) {
    reason_ = fmt::format("{}: {}", options_.root.string(), code.message());
    return;
  }
  for (; folder != fs::directory_iterator(); folder.increment(code)) {
    const fs::path zone = folder->path();
    if (!is_zone(zone.filename().string())) continue;
    const std::string name = io::read_system_file(zone / "name").value_or("");
    const bool dram = name == "dram";
    if (!dram && !name.starts_with("package")) continue;
    const auto range =
        io::system_number<std::uint64_t>(io::read_system_file(zone / "max_energy_range_uj").value_or(""));
    zones_.push_back({.counter = zone / "energy_uj", .dram = dram, .range = range});
  }
  if (std::none_of(zones_.begin(), zones_.end(), [](const Zone& zone) { return !zone.dram; }))
    reason_ = fmt::format("{}: no RAPL package", options_.root.string());
}

bool EnergyMeter::read(const Zone& zone, std::uint64_t& value) {
  const auto now = io::system_number<std::uint64_t>(io::read_system_file(zone.counter).value_or(""));
  if (now)
    value = *now;
  else
    reason_ = fmt::format("{}: cannot be read", zone.counter.string());
  return now.has_value();
}

void EnergyMeter::start() {
  if (!counts()) return;
  for (Zone& zone : zones_) {
    zone.used = 0;
    if (!read(zone, zone.last)) return;
  }
}

void EnergyMeter::update() {
  if (!counts()) return;
  for (Zone& zone : zones_) {
    std::uint64_t now = 0;
    if (!read(zone, now)) return;
    if (now >= zone.last) {
      zone.used += static_cast<double>(now - zone.last);
    } else if (zone.range && *zone.range >= zone.last) {
      zone.used += static_cast<double>(*zone.range - zone.last) + static_cast<double>(now);
    } else {
      reason_ = fmt::format("{}: went round, and its range is not known", zone.counter.string());
      return;
    }
    zone.last = now;
  }
}

EnergyUse EnergyMeter::used(std::int64_t elapsed_ns) {
  update();
  EnergyUse use{.reason = reason_};
  if (!counts()) {
    if (!options_.stated_watts) return use;
    use.source = EnergySource::StatedPower;
    use.package_joules = *options_.stated_watts * static_cast<double>(elapsed_ns) * 1e-9;
    return use;
  }
  use.source = EnergySource::Counters;
  use.package_joules = 0;
  for (const Zone& zone : zones_) {
    if (zone.dram)
      use.dram_joules = use.dram_joules.value_or(0.0) + zone.used * 1e-6;
    else
      *use.package_joules += zone.used * 1e-6;
  }
  return use;
}

}  // namespace foretell::measurement
