#include "framework/model/exits.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::model {
namespace {

at::Tensor index_of(const std::vector<int>& rows, const at::Device& device) {
  return at::tensor(std::vector<std::int64_t>(rows.begin(), rows.end()), at::kLong).to(device);
}

std::span<const float> values_of(const at::Tensor& host) {
  return {host.const_data_ptr<float>(), static_cast<std::size_t>(host.numel())};
}

at::Tensor on_host(const at::Tensor& values) { return values.to(at::kCPU, at::kFloat).contiguous(); }

std::vector<int> asked_layers(const ExitRules& rules, LayerRange layers, int num_layers) {
  std::vector<int> asked = rules.policy->layers(num_layers);
  for (std::size_t i = 0; i < asked.size(); ++i)
    FORETELL_CHECK(asked[i] > (i == 0 ? 0 : asked[i - 1]) && asked[i] < num_layers,
                   "an exit policy is asked behind layer {} of {}", asked[i], num_layers);
  std::erase_if(asked, [&](int level) { return level <= layers.first || level >= layers.last; });
  return asked;
}

// How many tokens a node of a draft tree lies behind the last committed one.
int depth_of(NodeId node, NodeId committed, std::span<const NodeId> parents) {
  int depth = 0;
  for (; node > committed; node = parents[static_cast<std::size_t>(node)]) ++depth;
  return depth;
}

}  // namespace

RowExits::RowExits(std::span<const ForwardItem> batch, const BatchPlan& plan, const ForwardOptions& options,
                   LayerRange layers, int num_layers)
    : batch_(batch), plan_(plan), rules_(options.exits), layers_(layers) {
  if (rules_) asked_ = asked_layers(*rules_, layers, num_layers);
  trivial_ = plan.rows == 0 || (plan.enters.empty() && plan.leaves.empty() && asked_.empty());
  if (trivial_) return;
  const auto rows = static_cast<std::size_t>(plan.rows);
  for (std::size_t i = 0; i < batch.size() && rules_; ++i)
    FORETELL_CHECK(plan.items[i].resumed == batch[i].exit.owed, "{} rows resume where rows may leave, {} of them owed",
                   plan.items[i].resumed, batch[i].exit.owed);
  enters_ = plan.enters.empty() ? std::vector<int>(rows, layers.first) : plan.enters;
  stops_ = plan.leaves.empty() ? std::vector<int>(rows, layers.last) : plan.leaves;
  for (std::size_t row = 0; row < rows; ++row) stops_[row] = std::max(stops_[row], enters_[row]);
  left_ = stops_;
  probes_.assign(rows, 0);
  for (const ItemPlan& item : plan.items)
    for (int row = 0; row < item.resumed; ++row) {
      const auto at = static_cast<std::size_t>(item.offset) + static_cast<std::size_t>(row);
      item.cache->show({enters_[at], layers.last}, item.cache_row(row));
    }
  stored_.assign(rows, 1);
  logits_.resize(rows);
}

std::vector<int> RowExits::working(int layer) const {
  std::vector<int> out;
  if (trivial_) {
    out.resize(static_cast<std::size_t>(plan_.rows));
    std::iota(out.begin(), out.end(), 0);
    return out;
  }
  for (int row = 0; row < plan_.rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (enters_[at] <= layer && layer < stops_[at]) out.push_back(row);
  }
  return out;
}

std::vector<int> RowExits::stored(int layer) const {
  std::vector<int> out;
  for (int row = 0; row < plan_.rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (stops_[at] <= layer && stored_[at] != 0) out.push_back(row);
  }
  return out;
}

bool RowExits::asked_at(int level) const { return std::ranges::binary_search(asked_, level); }

// Rows that are at work behind `level` layers, to be answered and not answered yet.
std::vector<int> RowExits::candidates(int level) const {
  std::vector<int> out;
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    const ItemPlan& item = plan_.items[i];
    if (batch_[i].logits == LogitRows::None) continue;
    const int first = batch_[i].logits == LogitRows::Last ? item.rows - 1 : batch_[i].exit.owed;
    for (int row = item.offset + first; row < item.offset + item.rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      if (enters_[at] < level && stops_[at] > level && left_[at] > level) out.push_back(row);
    }
  }
  return out;
}

std::vector<char> RowExits::ask(int level, const std::vector<int>& rows, const at::Tensor& states,
                                const at::Tensor& logits) {
  std::vector<ExitRow> about;
  for (std::size_t i = 0, next = 0; i < batch_.size(); ++i) {
    const ItemPlan& item = plan_.items[i];
    const ItemExit& exit = batch_[i].exit;
    const auto* tree = std::get_if<TreeShape>(&batch_[i].shape);
    // Of text alone the last row is answered: the last committed token.
    const int committed = !tree && batch_[i].logits == LogitRows::Last ? item.rows - 1 : exit.owed;
    for (; next < rows.size() && rows[next] < item.offset + item.rows; ++next) {
      const int own = rows[next] - item.offset + (tree ? tree->cached_rows : 0);
      const int depth = tree ? depth_of(own, committed, tree->parents) : own - committed;
      about.push_back({exit.request, rows[next], plan_.positions[static_cast<std::size_t>(rows[next])],
                       exit.generated + depth, exit.max_new_tokens, tree != nullptr && own > exit.owed});
    }
  }
  at::Tensor previous;
  if (asked_rows_.empty()) asked_rows_ = about;
  const ExitWants wants = rules_->policy->wants();
  if (wants.states && previous_.defined()) {
    std::vector<int> kept;  // a row that is asked about now was asked about before
    kept.reserve(rows.size());
    for (const int row : rows)
      kept.push_back(static_cast<int>(std::ranges::lower_bound(previous_rows_, row) - previous_rows_.begin()));
    previous = previous_.index_select(0, index_of(kept, previous_.device()));
  }
  const auto shown = [](const at::Tensor& values) {
    return values.defined() ? values_of(values) : std::span<const float>();
  };
  std::vector<char> leaves(rows.size(), 0);
  rules_->policy->decide({level, level == asked_.front(), about, shown(logits), shown(states), shown(previous)},
                         leaves);
  if (wants.states) {
    previous_ = states;
    previous_rows_ = rows;
  }
  return leaves;
}

void RowExits::decide(int level, const at::Tensor& x, const ModelParts& parts) {
  const std::vector<int> rows = candidates(level);
  if (rows.empty()) return;
  const ExitWants wants = rules_->policy->wants();
  const auto head = [&](const at::Tensor& states) {
    return rules_->heads ? rules_->heads->at(level).logits(states) : parts.head().logits(parts.final_norm(states));
  };
  const bool few = !wants.tokens.empty(), looks = wants.logits || few;
  at::Tensor states, logits, seen;  // logits: over the vocabulary
  if (looks || wants.states || rules_->heads) states = x.index_select(0, index_of(rows, x.device()));
  if (looks) {
    for (const int row : rows) ++probes_[static_cast<std::size_t>(row)];
    if (!few) logits = head(states);
    seen = on_host(!few            ? logits
                   : rules_->heads ? rules_->heads->at(level).logits_of(states, wants.tokens)
                                   : parts.head().logits_of(parts.final_norm(states), wants.tokens));
  }
  const std::vector<char> leaves = ask(level, rows, wants.states ? on_host(states) : at::Tensor(), seen);
  std::vector<int> going, places;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (leaves[i] == 0) continue;
    going.push_back(rows[i]);
    places.push_back(static_cast<int>(i));
  }
  if (going.empty()) return;
  const bool all_known = logits.defined();
  if (!all_known && rules_->heads) logits = head(states.index_select(0, index_of(places, x.device())));
  for (std::size_t i = 0; i < going.size() && logits.defined(); ++i)
    logits_[static_cast<std::size_t>(going[i])] =
        logits[static_cast<std::int64_t>(all_known ? places[i] : static_cast<int>(i))];
  if (rules_->kv == KvRule::Recompute) {
    const at::Tensor index = index_of(going, x.device());
    answered_.push_back({index, x.index_select(0, index)});
  }
  leave(level, going);
}

void RowExits::leave(int level, const std::vector<int>& rows) {
  for (const int row : rows) {
    const auto at = static_cast<std::size_t>(row);
    left_[at] = level;
    stored_[at] = rules_->kv == KvRule::Propagate ? 1 : 0;
    if (rules_->kv != KvRule::Recompute) stops_[at] = level;
  }
  if (rules_->kv == KvRule::Recompute) return stop_answered_items(level);
  if (rules_->kv == KvRule::Propagate) return;
  auto next = rows.begin();
  for (const ItemPlan& item : plan_.items) {
    std::vector<int> own;  // rows of the cache
    for (; next != rows.end() && *next < item.offset + item.rows; ++next)
      own.push_back(item.cache_row(*next - item.offset));
    if (own.empty()) continue;
    if (rules_->kv == KvRule::Copy)
      copy_up(level, item, own);
    else
      for (int layer = level; layer < layers_.last; ++layer) item.cache->hide(layer, own);
  }
}

// Keys and values of the last layer that the rows went through, for the layers above.
void RowExits::copy_up(int level, const ItemPlan& item, const std::vector<int>& rows) const {
  item.cache->copy_up({level, layers_.last}, index_of(rows, item.cache->keys(level).device()));
}

void RowExits::stop_answered_items(int level) {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    const ItemPlan& item = plan_.items[i];
    if (batch_[i].exit.finish || item.rows == 0) continue;
    const auto first = left_.begin() + item.offset;
    if (!std::all_of(first + batch_[i].exit.owed, first + item.rows, [&](int left) { return left <= level; })) continue;
    for (int row = item.offset; row < item.offset + item.rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      stops_[at] = std::min(stops_[at], std::max(level, enters_[at]));
      stored_[at] = 0;
    }
  }
}

at::Tensor RowExits::answering(const at::Tensor& x) const {
  if (answered_.empty()) return x;
  at::Tensor out = x.clone();
  for (const Answered& some : answered_) out.index_copy_(0, some.rows, some.states);
  return out;
}

void RowExits::report(ForwardResult& result) const {
  if (!asked_rows_.empty()) {
    std::vector<ExitRecord> records;
    for (const ExitRow& row : asked_rows_) records.push_back({row, left_[static_cast<std::size_t>(row.row)], {}});
    rules_->policy->observe(records);
  }
  const auto rows = static_cast<std::size_t>(plan_.rows);
  result.left = trivial_ ? std::vector<int>(rows, layers_.last) : left_;
  result.reached = trivial_ ? result.left : stops_;
  result.probes = trivial_ ? std::vector<int>(rows, 0) : probes_;
}

}  // namespace foretell::model
