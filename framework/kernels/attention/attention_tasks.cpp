#include "framework/kernels/attention/attention_tasks.h"

#include <algorithm>

namespace foretell::kernels::attention {

// The queries from `first` on of one head.
QueryTile tile_of(const AttentionJob& job, int head, int first) {
  const AttentionMask& seen = *job.seen;
  QueryTile tile{&job, head, first, std::min(kTileQueries, job.count() - first), seen.first, seen.end};
  if (!seen.lowest.empty()) {
    const std::span<const int> rows(seen.lowest.begin() + tile.first_row(), seen.lowest.begin() + tile.last_row() + 1);
    tile.begin = std::max(seen.first, *std::ranges::min_element(rows));
  }
  if (job.is_tree()) tile.begin = std::min(tile.begin, job.tail());
  if (!seen.all && !job.is_tree()) tile.end = seen.chain_end(tile.last_row());
  return tile;
}

std::vector<QueryTile> tiles_of(std::span<const AttentionJob> jobs) {
  std::vector<QueryTile> tiles;
  // The last rows of a prompt see the most: first.
  for (const AttentionJob& job : jobs)
    for (int first = (job.count() - 1) / kTileQueries * kTileQueries; first >= 0; first -= kTileQueries)
      for (int head = 0; head < job.kv_heads; ++head) tiles.push_back(tile_of(job, head, first));
  return tiles;
}

// A long cache's segments are shared out where there are not enough tiles for all threads. What a tree adds stays
// together.
std::vector<AttentionTask> tasks_of(std::span<const QueryTile> tiles, bool divided, const AttentionCode& path,
                                    std::vector<float>& parts) {
  std::vector<AttentionTask> tasks;
  std::vector<std::int64_t> places;
  std::int64_t size = 0;
  for (const QueryTile& tile : tiles) {
    const int segments = tile.segments();
    if (!divided || segments == 1) {
      tasks.push_back({tile, 0, segments, nullptr});
      places.push_back(-1);
      continue;
    }
    const int alone = tile.job->is_tree() ? tile.job->tail() / kJoined - tile.first_segment() : segments - 1;
    const std::int64_t width = path.wide_values(tile.job->value_dim) + kLanes;
    for (int s = 0; s <= std::max(alone, 0); ++s) {
      const int last = s >= alone ? segments : s + 1;
      tasks.push_back({tile, s, last, nullptr});
      places.push_back(size);
      size += (last - s) * tile.queries * width;
    }
  }
  if (parts.size() < static_cast<std::size_t>(size)) parts.resize(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < tasks.size(); ++i)
    if (places[i] >= 0) tasks[i].parts = parts.data() + places[i];
  return tasks;
}

void LayerTasks::plan(std::span<const AttentionJob> jobs, const AttentionCode& code, int threads) {
  jobs_.assign(jobs.begin(), jobs.end());
  code_ = code;
  const std::vector<QueryTile> tiles = attention::tiles_of(jobs_);
  tasks_ = tasks_of(tiles, threads > 1 && static_cast<int>(tiles.size()) < kTasksPerThread * threads, code, parts_);
  tiles_.clear();
  tile_of_task_.clear();
  for (int task = 0; task < count(); ++task) {
    if (tasks_[static_cast<std::size_t>(task)].first == 0) tiles_.push_back({task, 0});
    ++tiles_.back().tasks;
    tile_of_task_.push_back(static_cast<int>(tiles_.size()) - 1);
  }
  if (left_.size() < tiles_.size()) left_ = std::vector<std::atomic<int>>(tiles_.size());
  for (std::size_t tile = 0; tile < tiles_.size(); ++tile) left_[tile] = tiles_[tile].tasks;
}

std::size_t LayerTasks::job(int task) const {
  return static_cast<std::size_t>(tasks_[static_cast<std::size_t>(task)].tile.job - jobs_.data());
}

void LayerTasks::run(int task, const AttentionJob& job) {
  static thread_local AttentionRoom room;
  AttentionTask own = tasks_[static_cast<std::size_t>(task)];
  own.tile.job = &job;
  code_.run(own, room);
  if (!own.parts) return;
  const auto tile = static_cast<std::size_t>(tile_of_task_[static_cast<std::size_t>(task)]);
  if (left_[tile].fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  left_[tile].store(tiles_[tile].tasks, std::memory_order_relaxed);  // for the next layer
  code_.join(own.tile, tasks_[static_cast<std::size_t>(tiles_[tile].first_task)].parts,
             code_.wide_values(job.value_dim), room);
}

}  // namespace foretell::kernels::attention
