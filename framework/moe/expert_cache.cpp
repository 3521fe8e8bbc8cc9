#include "framework/moe/expert_cache.h"

#include <algorithm>
#include <limits>

#include "framework/core/error.h"

namespace foretell::moe {
namespace {

constexpr std::int64_t kNeverUsed = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kNotAgain = std::numeric_limits<std::int64_t>::max();

// Holds experts; the ones of the lowest worth go first, of equal ones the higher number.
class Memory {
 public:
  Memory(int experts, int room)
      : held_(static_cast<std::size_t>(experts)), worth_(static_cast<std::size_t>(experts), kNeverUsed), room_(room) {}

  bool holds(int expert) const { return held_.at(static_cast<std::size_t>(expert)); }
  void value(int expert, std::int64_t worth) { worth_.at(static_cast<std::size_t>(expert)) = worth; }
  // Takes them in and then drops what there is no room for.
  void add(std::span<const int> experts) {
    for (const int expert : experts)
      if (!holds(expert)) {
        held_[static_cast<std::size_t>(expert)] = true;
        list_.push_back(expert);
      }
    if (list_.size() <= static_cast<std::size_t>(room_)) return;
    std::sort(list_.begin(), list_.end(), [&](int a, int b) {
      const std::int64_t left = worth_[static_cast<std::size_t>(a)], right = worth_[static_cast<std::size_t>(b)];
      return left != right ? left > right : a < b;
    });
    for (std::size_t i = static_cast<std::size_t>(room_); i < list_.size(); ++i)
      held_[static_cast<std::size_t>(list_[i])] = false;
    list_.resize(static_cast<std::size_t>(room_));
  }

 private:
  std::vector<bool> held_;
  std::vector<std::int64_t> worth_;
  std::vector<int> list_;
  int room_;
};

// By step and needed expert the next step that needs it.
std::vector<std::vector<std::int64_t>> next_uses(std::span<const CacheStep> steps, int experts) {
  std::vector<std::int64_t> next(static_cast<std::size_t>(experts), kNotAgain);
  std::vector<std::vector<std::int64_t>> out(steps.size());
  for (std::size_t step = steps.size(); step-- > 0;) {
    for (const int expert : steps[step].needed) out[step].push_back(next.at(static_cast<std::size_t>(expert)));
    for (const int expert : steps[step].needed)
      next[static_cast<std::size_t>(expert)] = static_cast<std::int64_t>(step);
  }
  return out;
}

}  // namespace

CacheCount& CacheCount::operator+=(const CacheCount& other) {
  steps += other.steps;
  needed += other.needed;
  hits += other.hits;
  prefetched += other.prefetched;
  waited += other.waited;
  wasted += other.wasted;
  return *this;
}

CacheCount replay_cache(std::span<const CacheStep> steps, int experts, int room, CacheRule rule) {
  FORETELL_CHECK(experts > 0 && room > 0, "room for {} of {} experts", room, experts);
  const bool belady = rule == CacheRule::Belady;
  const auto next = belady ? next_uses(steps, experts) : std::vector<std::vector<std::int64_t>>{};
  Memory memory(experts, room);
  CacheCount out;
  for (std::size_t step = 0; step < steps.size(); ++step) {
    const CacheStep& of = steps[step];
    std::vector<bool> ahead(static_cast<std::size_t>(experts));
    std::vector<int> wrong;
    if (!belady)
      for (const int expert : of.prefetched)
        if (!memory.holds(expert)) {
          ahead.at(static_cast<std::size_t>(expert)) = true;
          if (std::find(of.needed.begin(), of.needed.end(), expert) == of.needed.end()) wrong.push_back(expert);
        }
    out.wasted += static_cast<std::int64_t>(wrong.size());
    for (std::size_t i = 0; i < of.needed.size(); ++i) {
      const int expert = of.needed[i];
      ++(memory.holds(expert) ? out.hits : ahead[static_cast<std::size_t>(expert)] ? out.prefetched : out.waited);
      // The sooner it is needed again, the higher.
      memory.value(expert, belady ? -next[step][i] : static_cast<std::int64_t>(step));
    }
    out.needed += static_cast<std::int64_t>(of.needed.size());
    memory.add(of.needed);
    memory.add(wrong);  // as old as when they were used last: what was used goes before them
  }
  out.steps = static_cast<std::int64_t>(steps.size());
  return out;
}

}  // namespace foretell::moe
