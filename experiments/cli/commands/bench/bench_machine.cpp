#include <ATen/Parallel.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands/bench/bench.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/measurement/bench_machine.h"

namespace foretell::cli::commands::bench {
namespace {

struct MachineOptions {
  measurement::BenchMachineOptions bench;
  study::ThreadOptions threads;
  int largest = 1024;
  std::string name = "this_machine";
  std::optional<std::string> out;
  bool json = false;
};

std::string way_text(const measurement::ReadWay& way) {
  return counted(way.streams, "stream") + (way.ahead > 0 ? fmt::format(", {} B ahead", way.ahead) : "");
}

std::string working_set_text(std::size_t bytes) {
  return bytes >= std::size_t{1} << 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

nlohmann::ordered_json to_json(const measurement::BenchMachineReport& report) {
  nlohmann::ordered_json json{{"threads", report.threads}, {"large_pages", report.large_pages}};
  for (const measurement::ReadBandwidth& read : report.reads)
    json["reads"].push_back({{"threads", read.threads},
                             {"bytes", read.bytes},
                             {"bytes_per_second", read.bytes_per_second},
                             {"streams", read.way.streams},
                             {"ahead", read.way.ahead}});
  const auto number = [](const std::optional<double>& rate) { return rate ? nlohmann::ordered_json(*rate) : nullptr; };
  for (const measurement::ArithmeticPeak& peak : report.peaks)
    json["peaks"].push_back({{"format", peak.format},
                             {"registers", number(peak.registers)},
                             {"instruction", peak.instruction},
                             {"matrix_product", number(peak.matrix_product)}});
  for (const measurement::ParallelRegion& region : report.regions)
    json["parallel_regions"].push_back({{"threads", region.threads}, {"seconds", region.seconds}});
  return json;
}

void print_report(const measurement::BenchMachineReport& report) {
  util::Table reads({"threads", "working set", "GB/s", "<read as"});
  for (const measurement::ReadBandwidth& read : report.reads)
    reads.add({std::to_string(read.threads), working_set_text(read.bytes),
               fmt::format("{:.1f}", read.bytes_per_second / 1e9), way_text(read.way)});
  util::print_out(reads.to_string());
  util::print_out(report.large_pages ? "in large pages, where the system had them\n\n" : "without large pages\n\n");
  const auto rate = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.0f}", *value / 1e9) : "-";
  };
  util::Table peaks({"<format", "GOP/s in registers", "<instruction", "LibTorch's product"});
  for (const measurement::ArithmeticPeak& peak : report.peaks)
    peaks.add({peak.format, rate(peak.registers), peak.instruction, rate(peak.matrix_product)});
  util::print_out(peaks.to_string());
  for (const measurement::ParallelRegion& region : report.regions)
    util::print_out(fmt::format("{}a parallel region of {}: {:.2f} us\n", &region == report.regions.data() ? "\n" : "",
                                counted(region.threads, "thread"), region.seconds * 1e6));
}

// The day and the processor, for the file's `source`.
std::string machine_source(const measurement::BenchMachineReport& report) {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  return fmt::format("measured by `foretell bench machine` with {} on {:04}-{:02}-{:02}",
                     counted(report.threads, "thread"), utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

void bench_machine(MachineOptions& options) {
  options.bench.largest_bytes = static_cast<std::size_t>(options.largest) << 20;
  options.threads.apply();
  const runner::MachineWatch watch(at::get_num_threads());
  const measurement::BenchMachineReport report = measurement::bench_machine(options.bench);
  if (options.out)
    io::write_file(*options.out, cost::operators::hardware_yaml(
                                     measurement::hardware_of(report, options.name, machine_source(report))));
  if (options.json)
    util::print_json(to_json(report), 2);
  else
    print_report(report);
  show_notes(watch);
}

}  // namespace

void add_bench_machine(util::Command parent) {
  auto options = std::make_shared<MachineOptions>();
  util::Command machine = parent.add_command("machine", "what this machine's memory and processors can do at best");
  machine.add("--out", options->out, "write the file of a device for `foretell roofline --hardware FILE`",
              {.type = "FILE.yaml"});
  machine.add("--name", options->name, "of the device in it", {.type = "NAME", .show_default = true});
  machine.add("--seconds", options->bench.seconds, "of each figure", {.type = "S", .show_default = true, .min = 0});
  machine.add("--largest", options->largest, "MiB of the largest working set",
              {.type = "N", .show_default = true, .min = 64});
  options->threads.declare(machine);
  machine.add_flag("--json", options->json, "as JSON");
  machine.run([options] { bench_machine(*options); });
}

}  // namespace foretell::cli::commands::bench
