#include "framework/decoding/model_target_session.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::decoding {
namespace {

bool tapped_early(int tap, int resume) { return resume > 0 && tap <= resume; }

std::vector<int> taps_below(const HiddenRequest& wants, int resume) {
  std::vector<int> out;
  for (const int tap : wants.taps)
    if (tapped_early(tap, resume)) out.push_back(tap);
  return out;
}

at::Tensor append_rows(const at::Tensor& before, const at::Tensor& rows) {
  return before.defined() ? at::cat({before, rows}) : rows;
}

at::Tensor row_index(const std::vector<int>& rows, const at::Device& device) {
  return at::tensor(std::vector<std::int64_t>(rows.begin(), rows.end()), at::TensorOptions(at::kLong)).to(device);
}

}  // namespace

std::vector<int> taps_from(const HiddenRequest& wants, int resume) {
  std::vector<int> out;
  for (const int tap : wants.taps)
    if (!tapped_early(tap, resume)) out.push_back(tap);
  return out;
}

ModelTargetSession::ModelTargetSession(const model::LanguageModel& model, int capacity, int prefill_chunk,
                                       const HiddenRequest& wants)
    : model_(model), cache_(model.make_cache(capacity)), wants_(wants), prefill_chunk_(prefill_chunk) {}

void ModelTargetSession::prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) {
  model::ForwardOptions options;
  options.taps = wants_.taps;
  options.tap_final = wants_.final_state;
  while (!tokens.empty()) {
    const TokenSpan chunk =
        tokens.first(std::min<std::size_t>(tokens.size(), static_cast<std::size_t>(prefill_chunk_)));
    const model::ForwardResult result =
        model_.forward({chunk, model::ChainShape{}, cache_.get(), model::LogitRows::None}, options);
    const model::HiddenStates hidden{result.taps, result.final_state};
    if (on_chunk) on_chunk({committed_, chunk, wants_.empty() ? nullptr : &hidden});
    committed_ += static_cast<int>(chunk.size());
    tokens = tokens.subspan(chunk.size());
  }
}

// The layer from which provisional rows can be finished. None if they were computed with sublayers left out; nor if
// nothing would be left to do, because a forward over no layers does not exist: then they are simply computed again.
std::optional<int> ModelTargetSession::resumable_layers() const {
  const std::optional<int> prefix = early_set_ ? early_set_->prefix_layers() : std::nullopt;
  return prefix && *prefix < num_layers() ? prefix : std::nullopt;
}

model::ForwardResult ModelTargetSession::append_provisional(std::span<const DraftNode> nodes, model::LogitRows logits) {
  Tokens tokens;
  const auto held = static_cast<int>(early_.size());
  for (const DraftNode& node : nodes) {
    const auto row = static_cast<NodeId>(early_.size());
    FORETELL_CHECK(node.parent < std::max(row, 1), "provisional row {} follows row {}", row, node.parent);
    early_.push_back(node);
    tokens.push_back(node.token);
  }
  std::vector<NodeId> parents;
  for (const DraftNode& node : early_) parents.push_back(node.parent);

  const std::optional<int> prefix = resumable_layers();
  model::ForwardOptions options;
  options.tap_last = true;
  if (prefix) {
    options.layers = model::LayerRange{0, *prefix};
    options.taps = taps_below(wants_, *prefix);
  } else {
    options.computed = early_set_;
  }
  model::ForwardResult result =
      model_.forward({TokenSpan(tokens), model::TreeShape{parents, held}, cache_.get(), logits}, options);
  if (!prefix) return result;
  early_state_ = append_rows(early_state_, result.last_state);
  early_taps_.resize(result.taps.size());
  for (std::size_t i = 0; i < result.taps.size(); ++i) early_taps_[i] = append_rows(early_taps_[i], result.taps[i]);
  return result;
}

model::KvCache& ModelTargetSession::lend() {
  drop_provisional();
  lent_ = true;
  return *cache_;
}

void ModelTargetSession::take_back() {
  if (lent_) cache_->truncate(committed_);
  lent_ = false;
}

EarlyResult ModelTargetSession::forward_early(std::span<const DraftNode> nodes, const model::LayerSet& computed) {
  take_back();
  FORETELL_CHECK(!early_set_ || *early_set_ == computed,
                 "{} provisional rows of this round were computed with other sublayers", early_.size());
  FORETELL_CHECK(computed.prefix_layers().value_or(1) > 0, "an exit of a model of {} layers computes none of them",
                 num_layers());
  early_set_ = computed;
  const model::ForwardResult result = append_provisional(nodes, model::LogitRows::All);
  return {result.logits, result.last_state};
}

void ModelTargetSession::drop_provisional() {
  if (!early_set_) return;
  cache_->truncate(committed_);
  forget_provisional();
}

void ModelTargetSession::forget_provisional() {
  early_.clear();
  early_set_.reset();
  early_state_.reset();
  early_taps_.clear();
}

// Keeps the provisional rows that the draft names, in their order; fills the first rows of the layout.
void ModelTargetSession::keep_named(const DraftTree& draft) {
  std::vector<std::optional<NodeId>> node_of_early(early_.size());
  std::vector<int> kept;
  for (std::size_t row = 0; row < early_.size(); ++row) {
    std::optional<NodeId>& node = node_of_early[row];
    if (row == 0)
      node = early_[0].token == draft.node(kAnchor).token ? std::optional(kAnchor) : std::nullopt;
    else if (const auto parent = node_of_early[static_cast<std::size_t>(early_[row].parent)])
      node = draft.child(*parent, early_[row].token);
    if (!node) continue;
    if (row_of_node_[*node] >= 0) {  // the same token twice on one path's end: the first copy serves
      node.reset();
      continue;
    }
    row_of_node_[*node] = static_cast<int>(kept.size());
    kept.push_back(static_cast<int>(row));
  }
  const model::LayerRange computed{0, *resumable_layers()};
  cache_->keep(computed, committed_, kept);
  const at::Tensor index = row_index(kept, model_.device());
  early_state_ = early_state_.index_select(0, index);
  for (at::Tensor& tap : early_taps_) tap = tap.index_select(0, index);
  early_.resize(kept.size());
}

int ModelTargetSession::begin_scoring(const DraftTree& draft) {
  take_back();
  const std::optional<int> prefix = resumable_layers();
  resume_ = prefix.value_or(0);
  row_of_node_.assign(static_cast<std::size_t>(draft.size()), -1);
  if (resume_ > 0)
    keep_named(draft);
  else
    drop_provisional();
  const int named = resume_ > 0 ? static_cast<int>(early_.size()) : 0;

  int rows = named;
  for (NodeId node = 0; node < draft.size(); ++node)
    if (row_of_node_[node] < 0) row_of_node_[node] = rows++;
  row_tokens_.assign(static_cast<std::size_t>(rows), 0);
  row_parents_.assign(static_cast<std::size_t>(rows), 0);
  for (NodeId node = 0; node < draft.size(); ++node) {
    row_tokens_[row_of_node_[node]] = draft.node(node).token;
    row_parents_[row_of_node_[node]] = row_of_node_[draft.node(node).parent];
  }
  if (resume_ == 0) return 0;

  std::vector<DraftNode> fresh;
  early_.clear();
  for (int row = 0; row < rows; ++row) (row < named ? early_ : fresh).push_back({row_tokens_[row], row_parents_[row]});
  if (!fresh.empty()) append_provisional(fresh, model::LogitRows::None);
  return resume_;
}

model::ForwardItem ModelTargetSession::item() const {
  const model::TreeShape shape{row_parents_, 0};
  if (resume_ > 0) return {early_state_, shape, cache_.get(), model::LogitRows::All};
  return {TokenSpan(row_tokens_), shape, cache_.get(), model::LogitRows::All};
}

model::HiddenStates ModelTargetSession::hidden(const model::ForwardResult& finished, int first) const {
  model::HiddenStates out;
  if (wants_.empty()) return out;
  const at::Tensor index = row_index(row_of_node_, model_.device());
  const auto by_node = [&](const at::Tensor& rows) { return rows.index_select(0, index); };
  const auto count = static_cast<std::int64_t>(row_of_node_.size());
  std::size_t early = 0, late = 0;
  for (const int tap : wants_.taps)
    out.taps.push_back(
        by_node(tapped_early(tap, resume_) ? early_taps_[early++] : finished.taps[late++].narrow(0, first, count)));
  if (wants_.final_state) out.final_state = by_node(finished.final_state.narrow(0, first, count));
  return out;
}

void ModelTargetSession::keep(std::span<const NodeId> accepted) {
  std::vector<int> rows{row_of_node_[kAnchor]};
  for (const NodeId node : accepted) rows.push_back(row_of_node_[node]);
  cache_->keep(committed_, rows);
  committed_ += static_cast<int>(rows.size());
  forget_provisional();
}

}  // namespace foretell::decoding
