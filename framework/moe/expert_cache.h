// A memory that holds some experts of each layer, replayed over the experts that were used: what offloading would cost.
//
// A step is one forward: it needs a set of experts of a layer at once. Those in memory are hits; the others are read,
// and after the step the memory holds experts out of what it held and what the step used.
//   lru      those used last (Eliseev & Mazur 2023, arXiv 2312.17238)
//   belady   those that are needed again soonest (Belady 1966): no policy that reads on demand has more hits
// Prefetch: before a step some experts are read while the draft is made, because the draft's own routing names them
// (SP-MoE 2025, arXiv 2510.10302); the right ones are no wait any more, the wrong ones were read for nothing.
//
// Contract: pure. A step that needs more experts than there is room for reads the rest and forgets it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace foretell::moe {

struct CacheStep {
  std::vector<int> needed = {};      // distinct experts
  std::vector<int> prefetched = {};  // distinct experts that are asked for before the step
};

struct CacheCount {
  std::int64_t steps = 0;
  std::int64_t needed = 0;      // experts, over all steps
  std::int64_t hits = 0;        // of these, in memory before anything was read for the step
  std::int64_t prefetched = 0;  // of the others, read ahead
  std::int64_t waited = 0;      // the rest: what the step waits for
  std::int64_t wasted = 0;      // read ahead and not needed
  std::int64_t read() const { return prefetched + waited + wasted; }
  double hit_rate() const { return needed > 0 ? static_cast<double>(hits) / static_cast<double>(needed) : 0; }
  CacheCount& operator+=(const CacheCount& other);
};

enum class CacheRule { Lru, Belady };

// The steps of one layer through a memory of `room` of its `experts` experts, empty at the start. Under Belady nothing
// is prefetched.
CacheCount replay_cache(std::span<const CacheStep> steps, int experts, int room, CacheRule rule);

}  // namespace foretell::moe
