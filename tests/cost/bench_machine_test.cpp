#include "framework/measurement/bench_machine.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

constexpr double kGiga = 1e9;

BenchMachineReport measured() {
  BenchMachineReport report{.threads = 2};
  // One thread alone; then both: a first level of 100 and 120, of which the slower one counts for what is above, one of
  // 80, one that is no faster than memory, and memory.
  report.reads = {{1000, 1, 70 * kGiga},  {64000, 1, 25 * kGiga}, {1000, 2, 100 * kGiga},       {4000, 2, 120 * kGiga},
                  {16000, 2, 80 * kGiga}, {64000, 2, 41 * kGiga}, {256000, 2, 40.00049 * kGiga}};
  report.peaks = {{.format = "fp32", .registers = 800e9, .matrix_product = 200e9},
                  {.format = "bf16", .matrix_product = 900e9},
                  {.format = "int8"}};
  report.regions = {{1, 1e-8}, {2, 5e-7}};
  return report;
}

}  // namespace

TEST_CASE("a measured machine is a device") {
  const Hardware hardware = hardware_of(measured(), "mine", "here");
  CHECK(hardware.bandwidth == Approx(40 * kGiga).epsilon(1e-6));
  CHECK(hardware.launch == Approx(5e-7));
  REQUIRE(hardware.working_sets.size() == 3);
  CHECK(hardware.bandwidth_over(900) == Approx(100 * kGiga));
  CHECK(hardware.bandwidth_over(3000) == Approx(100 * kGiga));
  CHECK(hardware.bandwidth_over(10000) == Approx(80 * kGiga));
  CHECK(hardware.bandwidth_over(60000) == hardware.bandwidth);
  CHECK(hardware.peak.fp32 == Approx(800e9));
  CHECK(hardware.peak.bf16 == Approx(900e9));
  CHECK(!hardware.peak.int8);
  CHECK_THROWS_WITH(hardware.peak_of(8), Catch::Contains("it has fp32, bf16"));
  CHECK(hardware_yaml(parse_hardware(parse_yaml(hardware_yaml(hardware), "written"))) == hardware_yaml(hardware));
}

TEST_CASE("every way of reading reads every byte") {
  const ReadBuffer buffer(std::size_t{1} << 20, 1);
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{5000}, std::size_t{70000}, std::size_t{1} << 20}) {
    const ReadBandwidth read = buffer.read(bytes, 1, 0);  // the sums are checked there
    CHECK(read.bytes_per_second > 0);
    CHECK(read.bytes == std::max<std::size_t>(bytes / 2048 * 2048, 2048));
  }
  // No more than there is.
  CHECK(buffer.read(std::size_t{1} << 30, 1, 0).bytes == std::size_t{2} << 20);
}
