// A hash map from 64-bit keys to small values, in one array: several times faster than std::unordered_map, and its
// memory is what bytes() says.
//
// Contract: a key is any value but ~0. Values are copied when the table grows, so pointers into it hold until the next
// insertion or erasure. Open addressing with linear probing, at most half full; erasing moves the entries behind back
// instead of leaving a tombstone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/mix.h"

namespace foretell {

template <class Value>
class FlatMap {
 public:
  const Value* find(std::uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place_of(key)];
    return slot.key == kFree ? nullptr : &slot.value;
  }
  Value* find(std::uint64_t key) { return const_cast<Value*>(std::as_const(*this).find(key)); }

  // The value at `key` and whether it is new; a value that is there already stays.
  std::pair<Value*, bool> insert(std::uint64_t key, const Value& value) {
    FORETELL_CHECK(key != kFree, "key {} is reserved", key);
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[place_of(key)];
    const bool added = slot.key == kFree;
    if (added) {
      slot = {key, value};
      ++size_;
    }
    return {&slot.value, added};
  }

  bool erase(std::uint64_t key) {
    if (slots_.empty()) return false;
    std::size_t hole = place_of(key);
    if (slots_[hole].key == kFree) return false;
    // An entry behind the hole moves into it unless it would then lie before the place where its search starts.
    for (std::size_t at = next(hole); slots_[at].key != kFree; at = next(at)) {
      const std::size_t distance_to_hole = (at - hole) & mask(),
                        distance_to_home = (at - home(slots_[at].key)) & mask();
      if (distance_to_home < distance_to_hole) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole].key = kFree;
    --size_;
    return true;
  }

  template <class F>  // f(key, value), in no particular order
  void for_each(F&& f) const {
    for (const Slot& slot : slots_)
      if (slot.key != kFree) f(slot.key, slot.value);
  }

  std::size_t size() const { return size_; }
  std::size_t bytes() const { return slots_.capacity() * sizeof(Slot); }
  void clear() { slots_.clear(), size_ = 0; }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kFree;
    Value value = {};
  };

  std::size_t mask() const { return slots_.size() - 1; }
  std::size_t home(std::uint64_t key) const { return static_cast<std::size_t>(mix64(key)) & mask(); }
  std::size_t next(std::size_t at) const { return (at + 1) & mask(); }
  std::size_t place_of(std::uint64_t key) const {
    std::size_t at = home(key);
    while (slots_[at].key != kFree && slots_[at].key != key) at = next(at);
    return at;
  }
  void grow() {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.empty() ? 16 : 2 * slots_.size()));
    for (Slot& slot : old)
      if (slot.key != kFree) slots_[place_of(slot.key)] = std::move(slot);
  }

  std::vector<Slot> slots_;  // a power of two of them
  std::size_t size_ = 0;
};

}  // namespace foretell
