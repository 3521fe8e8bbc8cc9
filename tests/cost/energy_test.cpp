#include "framework/measurement/energy.h"

#include "tests/cost/fake_tree.h"
#include "tests/support/catch.h"

using namespace foretell;
using foretell::testing::FakeTree;

namespace {

void write_zone(const FakeTree& tree, const std::string& zone, const std::string& name,
                const std::string& microjoules) {
  tree.write(zone + "/name", name + "\n");
  tree.write(zone + "/energy_uj", microjoules + "\n");
  tree.write(zone + "/max_energy_range_uj", "262143328850\n");
}

// Two packages with their parts, the mirror of the first one, and the whole platform.
void write_server(const FakeTree& tree) {
  tree.write("intel-rapl/enabled", "1\n");
  write_zone(tree, "intel-rapl:0", "package-0", "1000000");
  write_zone(tree, "intel-rapl:0:0", "core", "500000");
  write_zone(tree, "intel-rapl:0:1", "dram", "100000");
  write_zone(tree, "intel-rapl:1", "package-1", "2000000");
  write_zone(tree, "intel-rapl:1:0", "dram", "0");
  write_zone(tree, "intel-rapl:2", "psys", "9000000");
  write_zone(tree, "intel-rapl-mmio:0", "package-0", "1000000");
}

}  // namespace

TEST_CASE("packages are added up, memory stands apart, and nothing is counted twice") {
  const FakeTree tree;
  write_server(tree);
  EnergyMeter meter({.root = tree.root()});
  REQUIRE(meter.counts());
  write_zone(tree, "intel-rapl:0", "package-0", "4000000");
  write_zone(tree, "intel-rapl:0:0", "core", "3000000");
  write_zone(tree, "intel-rapl:0:1", "dram", "600000");
  write_zone(tree, "intel-rapl:1", "package-1", "4500000");
  write_zone(tree, "intel-rapl:2", "psys", "29000000");
  write_zone(tree, "intel-rapl-mmio:0", "package-0", "4000000");
  const EnergyUse use = meter.used(1'000'000'000);
  CHECK(use.source == EnergySource::Counters);
  CHECK(*use.package_joules == Approx(5.5));
  CHECK(*use.dram_joules == Approx(0.5));
  CHECK(*use.joules() == Approx(6.0));
  CHECK(*use.joules_per_token(3) == Approx(2.0));
  CHECK_FALSE(use.joules_per_token(0));
  CHECK(use.reason.empty());

  meter.start();
  CHECK(*meter.used(1).joules() == 0);
}

TEST_CASE("a counter that goes round is followed, once for each update") {
  const FakeTree tree;
  write_zone(tree, "intel-rapl:0", "package-0", "262143000000");
  EnergyMeter meter({.root = tree.root()});
  write_zone(tree, "intel-rapl:0", "package-0", "671150");
  meter.update();  // 328,850 to the end and 671,150 on
  write_zone(tree, "intel-rapl:0", "package-0", "1671150");
  const EnergyUse use = meter.used(1);
  CHECK(*use.joules() == Approx(2.0));
  CHECK_FALSE(use.dram_joules);
}

TEST_CASE("without a range a counter that went round says nothing") {
  const FakeTree tree;
  write_zone(tree, "intel-rapl:0", "package-0", "100");
  tree.remove("intel-rapl:0/max_energy_range_uj");
  EnergyMeter meter({.root = tree.root()});
  write_zone(tree, "intel-rapl:0", "package-0", "50");
  const EnergyUse use = meter.used(1);
  CHECK(use.source == EnergySource::None);
  CHECK_FALSE(use.joules());
  CHECK(use.reason.find("went round") != std::string::npos);
}

TEST_CASE("energy that is not counted is absent with its reason, or the user's own figure") {
  const FakeTree tree;
  EnergyMeter none({.root = tree.root() / "nowhere"});
  CHECK_FALSE(none.counts());
  CHECK_FALSE(none.used(5).joules());
  CHECK(none.used(5).reason.find("nowhere") != std::string::npos);
  CHECK(EnergyMeter({.root = tree.root()}).used(5).reason.find("no RAPL package") != std::string::npos);

  EnergyMeter stated({.root = tree.root(), .stated_watts = 50.0});
  const EnergyUse use = stated.used(2'000'000'000);
  CHECK(use.source == EnergySource::StatedPower);
  CHECK(*use.joules() == Approx(100));
  CHECK_FALSE(use.reason.empty());
  CHECK(name_of(use.source) == "stated power");

  for (const std::string hostile : {"", "12 34", "-5", "99999999999999999999999", "text"}) {
    write_zone(tree, "intel-rapl:0", "package-0", hostile);
    CHECK_FALSE(EnergyMeter({.root = tree.root()}).used(1).joules());
  }
  write_zone(tree, "intel-rapl:0", "package-0", "5");
  EnergyMeter lost({.root = tree.root()});
  REQUIRE(lost.counts());
  tree.remove("intel-rapl:0");
  CHECK_FALSE(lost.used(1).joules());
}
