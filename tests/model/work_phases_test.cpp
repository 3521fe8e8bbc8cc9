// Work in phases: every chunk once, a phase after the other, on any number of threads.
#include "framework/kernels/work_phases.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace foretell {
namespace {

using kernels::run_phases;

// Runs the phases; whether each chunk was run once, and not before all of the phases below.
bool runs_in_order(const std::vector<int>& chunks, int threads, std::chrono::microseconds slow = {}) {
  std::vector<std::vector<std::atomic<int>>> runs;
  for (const int count : chunks) runs.emplace_back(static_cast<std::size_t>(count));
  std::vector<std::atomic<int>> done(chunks.size());
  std::atomic<bool> in_order = true;
  run_phases(chunks, threads, [&](int phase, int chunk, bool) {
    for (int below = 0; below < phase; ++below)
      if (done[static_cast<std::size_t>(below)] != chunks[static_cast<std::size_t>(below)]) in_order = false;
    if (slow.count() > 0 && chunk == 0) std::this_thread::sleep_for(slow);
    ++runs[static_cast<std::size_t>(phase)][static_cast<std::size_t>(chunk)];
    ++done[static_cast<std::size_t>(phase)];
  });
  for (const auto& phase : runs)
    for (const auto& count : phase)
      if (count != 1) return false;
  return in_order;
}

TEST_CASE("phases run one after the other, each chunk once") {
  std::vector<int> many(300, 3);
  for (std::size_t i = 0; i < many.size(); i += 7) many[i] = 0;
  for (const int threads : {1, 2, 3, 8}) {
    INFO(threads << " threads");
    CHECK(runs_in_order({}, threads));
    CHECK(runs_in_order({0, 0}, threads));
    CHECK(runs_in_order({1}, threads));
    CHECK(runs_in_order({5, 0, 1, 64, 2, 0}, threads));
    for (int round = 0; round < 20; ++round) CHECK(runs_in_order(many, threads));
  }
}

TEST_CASE("threads that wait for long sleep and wake up") {
  CHECK(runs_in_order({3, 1, 2}, 2, std::chrono::milliseconds(20)));
  CHECK(runs_in_order({4, 1, 4}, 4, std::chrono::milliseconds(20)));
}

TEST_CASE("phases in a parallel region run on its thread alone") {
  std::atomic<int> wrong = 0;
  run_phases(std::vector<int>{4}, 4, [&](int, int, bool) {
    if (!runs_in_order({3, 2, 5}, 2)) ++wrong;
  });
  CHECK(wrong == 0);
}

TEST_CASE("each thread is told of its first chunk of a phase") {
  std::atomic<int> unprepared = 0;
  run_phases(std::vector<int>(50, 6), 3, [&](int phase, int, bool first) {
    static thread_local int prepared = -1;
    if (first) prepared = phase;
    if (prepared != phase) ++unprepared;
  });
  CHECK(unprepared == 0);
}

TEST_CASE("what a chunk throws reaches the caller, and nobody waits for ever") {
  for (const int threads : {1, 2, 4}) {
    const auto run = [threads] {
      run_phases(std::vector<int>{4, 4, 4}, threads, [](int phase, int chunk, bool) {
        if (phase == 1 && chunk == 2) throw std::runtime_error("chunk 2");
      });
    };
    CHECK_THROWS_WITH(run(), "chunk 2");
  }
}

}  // namespace
}  // namespace foretell
