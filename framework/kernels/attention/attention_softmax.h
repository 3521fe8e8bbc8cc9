// From scores to softmax weights, piece by piece. Code that is inlined as attention_pieces.h says.
#pragma once

#include <algorithm>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/attention/attention_job.h"
#include "framework/kernels/fast_exp.h"

namespace foretell::kernels::attention {

// Scores of one query become weights; returns what the sums so far are to be multiplied with. Lane by lane, because a
// compiler's own reductions go through the sixteen lanes one after the other.
FORETELL_INLINE float weigh(float* scores, float& largest, float& sum) {
  float tops[kLanes];
  std::fill_n(tops, kLanes, largest);
  for (int c = 0; c < kAttendedPiece; c += kLanes) {
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) tops[i] = scores[c + i] > tops[i] ? scores[c + i] : tops[i];
  }
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma omp simd
    for (int i = 0; i < half; ++i) tops[i] = tops[i + half] > tops[i] ? tops[i + half] : tops[i];
  }
  const float top = tops[0];
  if (top == kHidden) {
    std::fill_n(scores, kAttendedPiece, 0.0f);
    return 1.0f;
  }
  Lanes total{};
  for (int c = 0; c < kAttendedPiece; c += kLanes) {
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) scores[c + i] = scores[c + i] == kHidden ? 0.0f : fast_exp(scores[c + i] - top);
    Lanes weights;
    load(scores + c, weights);
    total += weights;
  }
  const float factor = largest == kHidden ? 0.0f : largest == top ? 1.0f : fast_exp(largest - top);
  sum = sum * factor + sum_of_lanes(total);
  largest = top;
  return factor;
}

// Of a query's scores of the positions from `begin` on, those that its row does not see; all of them lie below a tree's
// tail. `count`: that there are.
FORETELL_INLINE void hide(const AttentionMask& seen, int row, int begin, int count, float* scores) {
  const int first = std::clamp(std::max(seen.first, seen.lowest_of(row)) - begin, 0, kAttendedPiece);
  const bool is_chain = !seen.all && seen.marks.empty();
  const int last = std::clamp((is_chain ? seen.chain_end(row) : seen.end) - begin, 0, count);
  std::fill(scores, scores + first, kHidden);
  std::fill(scores + std::max(first, last), scores + kAttendedPiece, kHidden);
  if (!seen.has_ranges()) return;
  int next = begin;  // the first position that no range has been looked at for
  for (const PositionRange& range : seen.ranges_of(row)) {
    if (range.end <= next) continue;
    if (range.begin >= begin + kAttendedPiece) break;
    if (range.begin > next) std::fill(scores + next - begin, scores + range.begin - begin, kHidden);
    next = range.end;
  }
  if (next < begin + kAttendedPiece) std::fill(scores + next - begin, scores + kAttendedPiece, kHidden);
}

FORETELL_INLINE void scale_scores(float* scores, int count, float scale, const float* scales) {
  if (scales) {
#pragma omp simd
    for (int c = 0; c < count; ++c) scores[c] *= scale * scales[c];
  } else {
#pragma omp simd
    for (int c = 0; c < count; ++c) scores[c] *= scale;
  }
}

// A query's scores become weights, and what was summed so far is scaled down to them.
FORETELL_INLINE void weigh_into(float* scores, float* part, std::int64_t value_wide) {
  const float factor = weigh(scores, part[value_wide], part[value_wide + 1]);
  if (factor == 1.0f) return;
#pragma omp simd
  for (std::int64_t i = 0; i < value_wide; ++i) part[i] *= factor;
}

}  // namespace foretell::kernels::attention
