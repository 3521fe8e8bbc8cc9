// What a device can do at its best: the two roofs of a roofline.
//
// Contract: a plain value, read from a YAML file such as those of configs/hardware; the reader takes any bytes and
// throws an Error with file and line for what it cannot use. Rates are per second, sizes in bytes; a multiplication
// and an addition are two operations. Nothing is assumed of a device that its file does not say: a number format
// without a peak is an Error when it is asked for.
//
//   name: nvidia_A100
//   source: where the figures are from
//   bandwidth: 1555e9                      # of the memory that holds the weights
//   peak: {fp16: 312e12, int8: 624e12}     # dense matrix products; any of fp32, fp16, bf16, int8, int4
//   onchip_buffer: 27648e3                 # what a block of attention may fill
//   memory: 40e9                           # optional: what the device holds
//   working_sets: [{bytes: 8e6, bandwidth: 200e9}]   # optional, ascending: faster levels for what they hold
//   launch: 5e-6                           # optional: seconds that every operator takes besides
//   watts: 400                             # optional: what it draws under load
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/config_value.h"

namespace foretell::cost::operators {

struct WorkingSet {
  double bytes = 0, bandwidth = 0;
};

// Operations per second by number format; absent where the device has no such arithmetic or nobody says.
struct Peaks {
  std::optional<double> fp32 = {}, fp16 = {}, bf16 = {}, int8 = {}, int4 = {};
};

struct Hardware {
  std::string name, source;
  double bandwidth = 0;
  Peaks peak = {};
  std::optional<double> onchip_buffer = {}, memory = {}, watts = {};
  std::vector<WorkingSet> working_sets = {};
  double launch = 0;
  Location where = {}, peak_where = {};  // of the file and its peaks; a device that was measured has none

  // Of a pass over so many bytes that come round again and again: that of the smallest level that holds them.
  double bandwidth_over(double bytes) const;
  // Of products whose numbers have at most so many bits: 32, 16, 8 or 4. 16 bits are fp16 or bf16, and 4 bits are
  // computed as 8 where there is nothing narrower.
  double peak_of(int bits) const;
  // An Error at its place in the file where it does not say.
  double needed_onchip_buffer(std::string_view what) const;
};

Hardware parse_hardware(const ConfigValue& document);
// A YAML file, or a name: the file NAME.yaml of `folder`. An unknown name is an Error that lists the known ones.
Hardware load_hardware(const std::string& name_or_file, const std::filesystem::path& folder);
// Of all YAML files of the folder, in order.
std::vector<std::string> hardware_names(const std::filesystem::path& folder);
// Reads back as the same value.
std::string hardware_yaml(const Hardware& hardware);

}  // namespace foretell::cost::operators
