#include "framework/measurement/processor_time.h"

#include "tests/cost/fake_tree.h"
#include "tests/support/catch.h"

using namespace foretell;
using foretell::testing::FakeTree;

TEST_CASE("what threads waited is summed, and its share of what they wanted is contention") {
  const FakeTree tree;
  tree.write("proc/self/task/10/schedstat", "1000000000 500000000 7\n");
  tree.write("proc/self/task/11/schedstat", "2000000000 0 7\n");
  tree.write("proc/stat", "cpu  100 50 50 1000 10 0 0 100 0 0\ncpu0 1 2 3\n");
  const ProcessorTime before = read_processor_time(tree.root() / "proc");
  CHECK(before.waited_s == Approx(0.5));
  REQUIRE(before.busy_s);

  tree.write("proc/self/task/10/schedstat", "1500000000 1000000000 9\n");
  tree.write("proc/self/task/11/schedstat", "2500000000 0 8\n");
  tree.write("proc/stat", "cpu  300 50 150 1000 10 0 0 100 0 0\n");
  ProcessorTime after = read_processor_time(tree.root() / "proc");
  CHECK(after.waited_s == Approx(1));
  after.at_s = before.at_s + 2;
  REQUIRE(before.ran_s);
  after.ran_s = *before.ran_s + 1;
  CHECK(contention(before, after) == Approx(0.5 / 1.5));
  // Three seconds more were used, one of them by us.
  CHECK(*used_by_others(before, after) == Approx((*after.busy_s - *before.busy_s - 1) / 2));
  after.at_s = before.at_s + 0.01;
  CHECK_FALSE(used_by_others(before, after));
}

TEST_CASE("what the kernel does not tell is absent, and a thread that has ended takes nothing back") {
  const FakeTree tree;
  const ProcessorTime nothing = read_processor_time(tree.root() / "proc");
  CHECK_FALSE(nothing.waited_s);
  CHECK_FALSE(nothing.busy_s);
  CHECK_FALSE(contention(nothing, nothing));
  CHECK_FALSE(used_by_others(nothing, nothing));
  for (const char* hostile : {"", "x y", "1", "intr 1 2 3 4 5 6 7 8 9"}) {
    tree.write("proc/self/task/1/schedstat", hostile);
    tree.write("proc/stat", hostile);
    CHECK_FALSE(read_processor_time(tree.root() / "proc").waited_s);
    CHECK_FALSE(read_processor_time(tree.root() / "proc").busy_s);
  }
  CHECK_FALSE(contention({.ran_s = 2, .waited_s = 1}, {.ran_s = 1, .waited_s = 0.5}));
  CHECK(contention({.ran_s = 2, .waited_s = 1}, {.ran_s = 3, .waited_s = 0.5}) == 0.0);
}

TEST_CASE("this process runs") {
  const ProcessorTime before = read_processor_time();
  if (!before.waited_s) return;  // a kernel without schedstat
  volatile double sum = 0;
  for (int i = 0; i < 20'000'000; ++i) sum = sum + i;
  const ProcessorTime after = read_processor_time();
  REQUIRE(contention(before, after));
  CHECK(*contention(before, after) >= 0);
  CHECK(*contention(before, after) < 1);
}
