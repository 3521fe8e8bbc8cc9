#include "framework/cost/operators/hardware.h"

#include <algorithm>
#include <system_error>

#include "framework/core/parameters.h"
#include "framework/core/text.h"

namespace foretell::cost::operators {
namespace {

// What no device reaches, and what none stays below: rates outside are a slip of units.
constexpr double kLeastRate = 1e3, kMostRate = 1e21, kMostBytes = 1e18, kMostWatts = 1e9, kMostLaunch = 1;

struct PeakNames {
  const char* name;
  std::optional<double> Peaks::*field;
};
constexpr PeakNames kPeaks[] = {{"fp32", &Peaks::fp32},
                                {"fp16", &Peaks::fp16},
                                {"bf16", &Peaks::bf16},
                                {"int8", &Peaks::int8},
                                {"int4", &Peaks::int4}};

struct PeakOptions {
  Peaks peaks;
  void declare(Parameters& p) {
    for (const PeakNames& peak : kPeaks)
      p.add(peak.name, peaks.*peak.field, "operations per second", {.min = kLeastRate, .max = kMostRate});
  }
};

struct WorkingSetOptions {
  WorkingSet set;
  void declare(Parameters& p) {
    p.add("bytes", set.bytes, "what the level holds", {.min = 1, .max = kMostBytes, .required = true});
    p.add("bandwidth", set.bandwidth, "bytes per second", {.min = kLeastRate, .max = kMostRate, .required = true});
  }
};

struct HardwareOptions {
  Hardware hardware;
  ConfigValue peak, working_sets;
  void declare(Parameters& p) {
    p.add("name", hardware.name, "of the device", {.required = true});
    p.add("source", hardware.source, "where the figures are from", {.required = true});
    p.add("bandwidth", hardware.bandwidth, "bytes per second of the memory",
          {.min = kLeastRate, .max = kMostRate, .required = true});
    p.add("peak", peak, "operations per second by number format", {.required = true});
    p.add("onchip_buffer", hardware.onchip_buffer, "bytes", {.min = 1, .max = kMostBytes});
    p.add("memory", hardware.memory, "bytes that the device holds", {.min = 1, .max = kMostBytes});
    p.add("working_sets", working_sets, "bandwidth of what a faster level holds");
    p.add("launch", hardware.launch, "seconds that every operator takes besides", {.min = 0, .max = kMostLaunch});
    p.add("watts", hardware.watts, "under load", {.min = 0, .max = kMostWatts});
  }
};

void read_working_sets(const ConfigValue& list, Hardware& hardware) {
  if (list.is_null()) return;
  if (!list.is_list()) fail_at(list.where(), "working_sets: expected a list of {{bytes: N, bandwidth: N}}");
  for (const ConfigValue& item : list.items()) {
    WorkingSetOptions options;
    Parameters::read(item, "working_sets", options);
    if (!hardware.working_sets.empty() && hardware.working_sets.back().bytes >= options.set.bytes)
      fail_at(item.where(), "working_sets: {} bytes follow {}, expected ascending sizes", options.set.bytes,
              hardware.working_sets.back().bytes);
    hardware.working_sets.push_back(options.set);
  }
}

std::vector<std::string> formats_of(const Peaks& peaks) {
  std::vector<std::string> names;
  for (const PeakNames& peak : kPeaks)
    if (peaks.*peak.field) names.emplace_back(peak.name);
  return names;
}

// What products of so many bits are computed with.
const char* formats_for(int bits) {
  if (bits <= 4) return "int4 or int8";
  if (bits <= 8) return "int8";
  return bits <= 16 ? "fp16 or bf16" : "fp32";
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::filesystem::path file_of(const std::string& name, const std::filesystem::path& folder) {
  if (std::filesystem::path(name).extension() == ".yaml") return name;
  const std::vector<std::string> known = hardware_names(folder);
  if (std::ranges::find(known, name) == known.end()) throw Error(unknown_name_message("hardware", name, known));
  return folder / (name + ".yaml");
}

}  // namespace

double Hardware::bandwidth_over(double bytes) const {
  for (const WorkingSet& set : working_sets)
    if (bytes <= set.bytes) return set.bandwidth;
  return bandwidth;
}

double Hardware::peak_of(int bits) const {
  std::optional<double> found;
  if (bits <= 4 && peak.int4)
    found = peak.int4;
  else if (bits <= 8)
    found = peak.int8;
  else if (bits <= 16)
    found = peak.fp16 ? peak.fp16 : peak.bf16;
  else
    found = peak.fp32;
  if (!found)
    fail_at(peak_where, "{} has no peak for products of {}; it has {}: expected {}", name, counted(bits, "bit"),
            joined(formats_of(peak)), formats_for(bits));
  return *found;
}

double Hardware::needed_onchip_buffer(std::string_view what) const {
  if (!onchip_buffer) fail_at(where, "{} has no onchip_buffer, which {} is computed from", name, what);
  return *onchip_buffer;
}

Hardware parse_hardware(const ConfigValue& document) {
  if (!document.is_map()) fail_at(document.where(), "expected a mapping with name, source, bandwidth and peak");
  HardwareOptions options;
  Parameters::read(document, "hardware", options);
  PeakOptions peak;
  Parameters::read(options.peak, "peak", peak);
  options.hardware.peak = peak.peaks;
  options.hardware.where = document.where();
  options.hardware.peak_where = options.peak.where();
  if (formats_of(peak.peaks).empty())
    fail_at(options.peak.where(), "peak: no number format; allowed: fp32, fp16, bf16, int8, int4");
  read_working_sets(options.working_sets, options.hardware);
  return std::move(options.hardware);
}

Hardware load_hardware(const std::string& name_or_file, const std::filesystem::path& folder) {
  return parse_hardware(load_yaml(file_of(name_or_file, folder)));
}

std::vector<std::string> hardware_names(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (auto it = std::filesystem::directory_iterator(folder, error); !error && it != std::filesystem::end(it);
       it.increment(error))
    if (it->path().extension() == ".yaml") names.push_back(it->path().stem().string());
  if (error)
    fail("{}: the folder of devices cannot be read: {}; --devices names another", folder.string(), error.message());
  std::ranges::sort(names);
  return names;
}

std::string hardware_yaml(const Hardware& hardware) {
  const auto number = [](double value) { return ConfigValue::scalar(fmt::format("{}", value)); };
  const auto text = [](const std::string& value) { return ConfigValue::scalar(value, {}, true); };
  ConfigValue document;
  document.set("name", text(hardware.name));
  document.set("source", text(hardware.source));
  document.set("bandwidth", number(hardware.bandwidth));
  ConfigValue peak;
  for (const PeakNames& known : kPeaks)
    if (const auto& value = hardware.peak.*known.field) peak.set(known.name, number(*value));
  document.set("peak", peak);
  if (hardware.onchip_buffer) document.set("onchip_buffer", number(*hardware.onchip_buffer));
  if (hardware.memory) document.set("memory", number(*hardware.memory));
  if (!hardware.working_sets.empty()) {
    std::vector<ConfigValue> sets;
    for (const WorkingSet& set : hardware.working_sets) {
      ConfigValue item;
      item.set("bytes", number(set.bytes));
      item.set("bandwidth", number(set.bandwidth));
      sets.push_back(std::move(item));
    }
    document.set("working_sets", ConfigValue::list(std::move(sets)));
  }
  if (hardware.launch > 0) document.set("launch", number(hardware.launch));
  if (hardware.watts) document.set("watts", number(*hardware.watts));
  return document.to_yaml();
}

}  // namespace foretell::cost::operators
