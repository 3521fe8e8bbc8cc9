#include "framework/measurement/machine_state.h"

#include "tests/cost/fake_tree.h"
#include "tests/support/catch.h"

using namespace foretell;
using foretell::testing::FakeTree;

namespace {

MachineState state_of(const FakeTree& tree) {
  return read_machine_state({.sys = tree.root() / "sys", .proc = tree.root() / "proc"});
}

}  // namespace

TEST_CASE("the state of a machine is read from the kernel's files") {
  const FakeTree tree;
  tree.write("proc/loadavg", "1.25 0.50 0.10 1/200 4321\n");
  tree.write("sys/devices/system/cpu/online", "0-2,5\n");
  for (const char* cpu : {"0", "1", "2"})
    tree.write(std::string("sys/devices/system/cpu/cpu") + cpu + "/cpufreq/scaling_governor", "performance\n");
  tree.write("sys/devices/system/cpu/cpu5/cpufreq/scaling_governor", "powersave\n");
  const MachineState state = state_of(tree);
  CHECK(state.cpus == 4);
  CHECK(state.load_1 == 1.25);
  CHECK(state.load_15 == 0.1);
  CHECK(state.governors == std::vector<std::string>{"performance", "powersave"});
}

TEST_CASE("what a machine does not tell is absent") {
  const FakeTree tree;
  const MachineState nothing = state_of(tree);
  CHECK_FALSE(nothing.cpus);
  CHECK_FALSE(nothing.load_1);
  CHECK(nothing.governors.empty());
  CHECK(timing_doubts(nothing, 4).empty());
  tree.write("proc/loadavg", "much\n");
  CHECK_FALSE(state_of(tree).load_1);
  for (const std::string hostile : {"0-", "3-1", "-1", "0-99999999", "0,,1", "a", "0-65535,0-65535"}) {
    tree.write("sys/devices/system/cpu/online", hostile);
    INFO(hostile);
    CHECK_FALSE(state_of(tree).cpus);
  }
}

TEST_CASE("a busy machine and a changing clock make times doubtful") {
  CHECK(timing_doubts({.cpus = 4, .governors = {"performance"}, .load_1 = 0.3}, 4).empty());
  CHECK(timing_doubts({.cpus = 4, .load_1 = 2.0}, 2).empty());
  CHECK(timing_doubts({.cpus = 2, .load_1 = 7.66}, 2) ==
        std::vector<std::string>{"the load was 7.7 before 2 threads of ours came to 2 CPUs"});
  CHECK(timing_doubts({.governors = {"powersave"}}, 2) ==
        std::vector<std::string>{"the clock changes (governor powersave)"});
}
