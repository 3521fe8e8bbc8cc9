// Where the time of a forward pass goes, by kind of operator.
//
// Contract: ForwardOptions::probe names one; without one a mark is a comparison. A mark gives the time since the one
// before it, or since begin(), to a part: the parts add up to the time from begin() to the last mark. On the CPU, where
// an operator has ended when its call returns. One forward pass at a time.
#pragma once

#include <array>
#include <cstdint>

#include "framework/core/stopwatch.h"

namespace foretell::model {

class ForwardProbe {
 public:
  enum class Part { Embedding, Norm, Qkv, Rope, Attention, Output, Mlp, Head, Rest };
  static constexpr std::size_t kParts = 9;

  void begin() {
    ns_ = {};
    watch_ = Stopwatch();
  }
  void mark(Part part) { ns_[static_cast<std::size_t>(part)] += watch_.lap_ns(); }
  const std::array<std::int64_t, kParts>& ns() const { return ns_; }  // by part

 private:
  std::array<std::int64_t, kParts> ns_ = {};
  Stopwatch watch_;
};

inline void mark(ForwardProbe* probe, ForwardProbe::Part part) {
  if (probe) [[unlikely]]
    probe->mark(part);
}

}  // namespace foretell::model
