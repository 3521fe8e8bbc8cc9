// Attention cut into tasks, which threads run in any order.
//
// Contract: pieces and segments of a cache are joined in their order (cached_attention.h), so that no division changes
// a bit.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "framework/kernels/attention/attention_code.h"

namespace foretell::kernels::attention {

constexpr int kTasksPerThread = 4;  // where there are fewer, a long cache is divided as well

// The queries from `first` on of one head.
QueryTile tile_of(const AttentionJob& job, int head, int first);
std::vector<QueryTile> tiles_of(std::span<const AttentionJob> jobs);
// What divided tiles leave goes to `parts`.
std::vector<AttentionTask> tasks_of(std::span<const QueryTile> tiles, bool divided, const AttentionCode& path,
                                    std::vector<float>& parts);

// The tasks of one layer for a parallel region that is there already, kept for layers whose rows see the same.
class LayerTasks {
 public:
  // On so many threads. The jobs are one layer's.
  void plan(std::span<const AttentionJob> jobs, const AttentionCode& code, int threads);
  int count() const { return static_cast<int>(tasks_.size()); }
  std::size_t job(int task) const;
  // Of a layer whose job this is, on the calling thread. Who runs the last task of a head joins what the others left.
  void run(int task, const AttentionJob& job);

 private:
  // Tasks of one tile.
  struct Tile {
    int first_task = 0, tasks = 0;
  };

  std::vector<AttentionJob> jobs_;
  AttentionCode code_{};
  std::vector<AttentionTask> tasks_;
  std::vector<float> parts_;
  std::vector<Tile> tiles_;
  std::vector<int> tile_of_task_;
  std::vector<std::atomic<int>> left_;  // by tile (or more): tasks that have not been run
};

}  // namespace foretell::kernels::attention
