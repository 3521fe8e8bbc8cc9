#include "framework/decoding/model_target_session.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "framework/core/error.h"

namespace foretell::decoding {
namespace {

at::Tensor append_rows(const at::Tensor& before, const at::Tensor& rows) {
  return before.defined() ? at::cat({before, rows}) : rows;
}

at::Tensor row_index(const std::vector<int>& rows, const at::Device& device) {
  return at::tensor(std::vector<std::int64_t>(rows.begin(), rows.end()), at::TensorOptions(at::kLong)).to(device);
}

}  // namespace

ModelTargetSession::ModelTargetSession(const model::LanguageModel& model, const Request& request, int capacity,
                                       int prefill_chunk, const ForwardRules& rules, const HiddenStateRequest& wants)
    : model_(model),
      cache_(model.make_cache(capacity)),
      wants_(wants),
      prefill_chunk_(prefill_chunk),
      rules_(rules),
      attention_(rules_.attention ? rules_.attention->fresh() : nullptr),
      request_(request.id),
      max_new_tokens_(request.max_new_tokens) {}

void ModelTargetSession::prefill(TokenSpan tokens, const std::function<void(const PromptChunk&)>& on_chunk) {
  model::ForwardOptions options;
  options.aux_states = wants_.aux_states;
  options.return_final_state = wants_.final_state;
  while (!tokens.empty()) {
    const TokenSpan chunk =
        tokens.first(std::min<std::size_t>(tokens.size(), static_cast<std::size_t>(prefill_chunk_)));
    const model::ForwardResult result = model_.forward(
        {chunk, model::ChainShape{}, cache_.get(), model::LogitRows::None, {attention_.get(), true}}, options);
    const model::HiddenStates hidden{result.aux_states, result.final_state};
    if (on_chunk) on_chunk({committed_, chunk, wants_.empty() ? nullptr : &hidden});
    committed_ += static_cast<int>(chunk.size());
    tokens = tokens.subspan(chunk.size());
  }
}

void ModelTargetSession::pay() {
  if (owed() == 0) return;
  model::ForwardItem item{owed_.state, model::ChainShape{}, cache_.get(), model::LogitRows::None};
  item.enters = owed_.reached;
  item.tokens = owed_.tokens;
  model::ForwardOptions options;
  rules_.apply(options);
  rules_.model_of(model_).forward(item, options);
  owed_ = {};
}

model::ForwardItem ModelTargetSession::provisional(std::span<const DraftNode> nodes) {
  take_back();
  pay();
  const auto held = static_cast<int>(early_.size());
  cache_->pad(committed_ + held);  // rows that left early have their place in the layers above, too
  item_tokens_.clear();
  for (const DraftNode& node : nodes) {
    const auto row = static_cast<NodeId>(early_.size());
    FORETELL_CHECK(node.parent < std::max(row, 1), "provisional row {} follows row {}", row, node.parent);
    early_.push_back({node});
    early_parents_.push_back(node.parent);
    item_tokens_.push_back(node.token);
  }
  return {TokenSpan(item_tokens_), model::TreeShape{early_parents_, held}, cache_.get(), model::LogitRows::All};
}

void ModelTargetSession::ask(model::ForwardOptions& options) const {
  const int last = options.layers ? options.layers->last : num_layers();
  for (const int aux_layer : wants_.aux_states)
    if (aux_layer <= last) options.aux_states.push_back(aux_layer);
  options.return_last_state = true;
}

void ModelTargetSession::take(const model::ForwardResult& result, int first_row) {
  const auto count = static_cast<std::int64_t>(item_tokens_.size());
  FORETELL_CHECK(result.last_state.defined(), "the forward of {} provisional rows was not asked for their states",
                 count);
  // Under rules the target is scored otherwise than these rows were computed.
  if (!rules_.own() || !result.own_rules || result.layers.first != 0) return;
  const int before = early_state_.defined() ? static_cast<int>(early_state_.size(0)) : 0;
  const std::size_t held = early_.size() - item_tokens_.size();
  for (std::size_t i = 0; i < item_tokens_.size(); ++i) {
    early_[held + i].state = before + static_cast<int>(i);
    early_[held + i].left = result.reached.at(static_cast<std::size_t>(first_row) + i);
  }
  const at::Tensor state = result.last_state.narrow(0, first_row, count);
  early_state_ = append_rows(early_state_, state);
  early_aux_states_.resize(wants_.aux_states.size());
  std::size_t aux_layer = result.aux_states.size();  // what ask() added stands at the end
  for (std::size_t i = wants_.aux_states.size(); i-- > 0;) {
    const bool reached = wants_.aux_states[i] <= result.layers.last;
    early_aux_states_[i] = append_rows(early_aux_states_[i],
                                       reached ? result.aux_states.at(--aux_layer).narrow(0, first_row, count) : state);
  }
}

model::KvCache& ModelTargetSession::lend() {
  drop_provisional();
  pay();
  lent_ = true;
  return *cache_;
}

void ModelTargetSession::take_back() {
  if (lent_) cache_->truncate(committed_);
  lent_ = false;
}

void ModelTargetSession::drop_provisional() {
  if (!early_.empty()) cache_->truncate(committed_);
  forget_provisional();
}

void ModelTargetSession::forget_provisional() {
  early_.clear();
  early_parents_.clear();
  early_state_.reset();
  early_aux_states_.clear();
}

// A row has seen those that it follows, in all layers that it went through.
bool ModelTargetSession::can_resume(const EarlyRow& row) const {
  return row.state >= 0 && row.left <= early_[static_cast<std::size_t>(row.node.parent)].left;
}

// Keeps the provisional rows that the draft names and that can resume, in their order: the first rows of the layout.
void ModelTargetSession::keep_named(const DraftTree& draft) {
  std::vector<std::optional<NodeId>> node_of_early(early_.size());
  std::vector<int> kept;
  std::vector<std::int64_t> states;
  for (std::size_t row = 0; row < early_.size(); ++row) {
    const EarlyRow& early = early_[row];
    if (!can_resume(early)) continue;
    std::optional<NodeId>& node = node_of_early[row];
    if (row == 0)
      node = early.node.token == draft.node(kAnchor).token ? std::optional(kAnchor) : std::nullopt;
    else if (const auto parent = node_of_early[static_cast<std::size_t>(early.node.parent)])
      node = draft.child(*parent, early.node.token);
    if (!node) continue;
    if (row_of_node_[*node] >= 0) {  // the same token twice on one path's end: the first copy serves
      node.reset();
      continue;
    }
    row_of_node_[*node] = static_cast<int>(kept.size());
    kept.push_back(static_cast<int>(row));
    states.push_back(early.state);
    row_enters_.push_back(early.left);
  }
  cache_->pad(committed_ + static_cast<int>(early_.size()));
  cache_->keep(committed_, kept);
  resumed_ = static_cast<int>(kept.size());
  if (resumed_ == 0) return;
  const at::Tensor index = at::tensor(states, at::kLong).to(model_.device());
  early_state_ = early_state_.index_select(0, index);
  for (at::Tensor& aux_layer : early_aux_states_) aux_layer = aux_layer.index_select(0, index);
}

void ModelTargetSession::begin_scoring(const DraftTree& draft) {
  take_back();
  row_enters_.assign(owed_.reached.begin(), owed_.reached.end());
  resumed_ = owed();
  row_of_node_.assign(static_cast<std::size_t>(draft.size()), -1);
  if (!early_.empty()) keep_named(draft);
  int rows = resumed_;
  for (NodeId node = 0; node < draft.size(); ++node)
    if (row_of_node_[node] < 0) row_of_node_[node] = rows++;
  row_tokens_ = owed_.tokens;
  row_parents_.clear();
  for (NodeId row = 0; row < owed(); ++row) row_parents_.push_back(std::max(row - 1, 0));
  row_tokens_.resize(static_cast<std::size_t>(rows), 0);
  row_parents_.resize(static_cast<std::size_t>(rows), 0);
  for (NodeId node = 0; node < draft.size(); ++node) {
    row_tokens_[row_of_node_[node]] = draft.node(node).token;
    row_parents_[row_of_node_[node]] =
        node == kAnchor ? std::max(row_of_node_[kAnchor] - 1, 0) : row_of_node_[draft.node(node).parent];
  }
  if (resumed_ > 0) row_enters_.resize(static_cast<std::size_t>(rows), 0);
}

model::ForwardItem ModelTargetSession::item() const {
  model::ForwardItem item{TokenSpan(row_tokens_), model::TreeShape{row_parents_, 0}, cache_.get(),
                          model::LogitRows::All};
  item.exit = {.request = request_, .max_new_tokens = max_new_tokens_, .owed = owed()};
  item.scored = true;
  if (resumed_ == 0 || owed() > 0) item.attention.policy = attention_.get();
  if (resumed_ == 0) return item;
  item.input = owed() > 0 ? owed_.state : early_state_;
  item.enters = row_enters_;
  item.tokens = row_tokens_;
  return item;
}

void ModelTargetSession::take_scored(const model::ForwardResult& result, int first) {
  const auto begin = result.reached.begin() + first, end = begin + static_cast<std::ptrdiff_t>(row_tokens_.size());
  scored_ = {};
  if (std::all_of(begin, end, [this](int layers) { return layers == num_layers(); })) return;
  scored_ = {row_tokens_, {begin, end}, result.last_state.narrow(0, first, static_cast<std::int64_t>(end - begin))};
}

model::HiddenStates ModelTargetSession::hidden(const model::ForwardResult& finished, int first) const {
  model::HiddenStates out;
  if (wants_.empty()) return out;
  const at::Tensor index = row_index(row_of_node_, model_.device());
  const auto count = static_cast<std::int64_t>(row_tokens_.size());
  const auto by_node = [&](const at::Tensor& rows) { return rows.narrow(0, first, count).index_select(0, index); };
  for (std::size_t i = 0; i < wants_.aux_states.size(); ++i) {
    at::Tensor& aux_layer = out.aux_states.emplace_back(by_node(finished.aux_states[i]));
    // What lies below the layer that a row resumed at is known from its first forward.
    for (std::size_t node = 0; node < row_of_node_.size(); ++node) {
      const int row = row_of_node_[node];
      if (row < resumed_ && wants_.aux_states[i] < row_enters_[row])
        aux_layer.select(0, static_cast<std::int64_t>(node)).copy_(early_aux_states_[i].select(0, row));
    }
  }
  if (wants_.final_state) out.final_state = by_node(finished.final_state);
  return out;
}

void ModelTargetSession::keep(std::span<const NodeId> accepted) {
  std::vector<int> rows{row_of_node_[kAnchor]};
  for (const NodeId node : accepted) rows.push_back(row_of_node_[node]);
  std::vector<int> kept;
  kept.reserve(rows.size());
  for (const int row : rows) kept.push_back(row - owed());
  cache_->keep(committed_, kept);
  if (attention_) attention_->keep(committed_, kept);
  committed_ += static_cast<int>(rows.size());
  forget_provisional();
  // What stopped in this round, or was owed before and has not come further.
  Owed all = std::move(scored_);
  std::vector<int> still(static_cast<std::size_t>(owed()));
  std::iota(still.begin(), still.end(), 0);
  still.insert(still.end(), rows.begin(), rows.end());
  owed_ = {};
  scored_ = {};
  if (all.tokens.empty()) return;
  for (const int row : still) {
    owed_.tokens.push_back(all.tokens[static_cast<std::size_t>(row)]);
    owed_.reached.push_back(all.reached[static_cast<std::size_t>(row)]);
  }
  owed_.state = all.state.index_select(0, row_index(still, model_.device()));
}

}  // namespace foretell::decoding
