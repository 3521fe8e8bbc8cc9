#include "framework/decoding/bases/model_session.h"

#include <algorithm>
#include <optional>

#include "framework/core/error.h"

namespace foretell::bases {

void ModelSession::borrow(model::KvCache& cache, TokenSpan prefix) {
  FORETELL_CHECK(!own_ && !prefix.empty(), "a cache is lent for {} tokens", prefix.size());
  const auto held = static_cast<int>(prefix.size()) - 1;
  cache.truncate(held);
  FORETELL_CHECK(cache.length() == held, "the cache that is lent holds {} rows of {}", cache.length(), held);
  cache_ = &cache;
  owed_ = {};
  if (attention_.policy) attention_.policy->keep(held, {});
  tokens_.assign(prefix.begin(), prefix.end() - 1);
  drafted_.clear();
}

model::ItemAttention ModelSession::attention(std::size_t first) const {
  return {attention_.policy.get(), own_ && first < static_cast<std::size_t>(attention_.prompt)};
}

void ModelSession::drop_owed() {
  if (owed() == 0) return;
  const std::size_t kept = tokens_.size() + drafted_.size() - owed_.tokens.size();
  cache_->truncate(static_cast<int>(kept));
  drafted_.resize(kept < tokens_.size() ? 0 : kept - tokens_.size());
  tokens_.resize(std::min(kept, tokens_.size()));
  owed_ = {};
}

int ModelSession::align(TokenSpan prefix) {
  FORETELL_CHECK(!prefix.empty(), "a prefix of {} tokens", prefix.size());
  drop_owed();
  const std::size_t most = prefix.size() - 1;
  std::size_t common = 0;
  while (common < std::min(most, tokens_.size()) && tokens_[common] == prefix[common]) ++common;

  const auto base = static_cast<int>(tokens_.size());
  std::vector<int> kept;  // drafted rows on the path, relative to `base`
  if (common == tokens_.size()) {
    NodeId at = kAnchor;
    while (common < most) {
      const auto next = std::find_if(drafted_.begin(), drafted_.end(),
                                     [&](const DraftNode& n) { return n.parent == at && n.token == prefix[common]; });
      if (next == drafted_.end()) break;
      const auto row = static_cast<int>(next - drafted_.begin());
      kept.push_back(row);
      at = row + 1;
      ++common;
    }
  }
  if (static_cast<int>(common) >= base)
    cache_->keep(base, kept);
  else
    cache_->truncate(static_cast<int>(common));
  if (attention_.policy) attention_.policy->keep(std::min(base, static_cast<int>(common)), kept);
  tokens_.assign(prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(common));
  drafted_.clear();
  return static_cast<int>(common);
}

model::ForwardItem ModelSession::extend(TokenSpan tokens, model::LogitRows logits) {
  FORETELL_CHECK(drafted_.empty(), "{} drafted rows are in the way", drafted_.size());
  pending_.assign(tokens.begin(), tokens.end());
  const model::ItemAttention seen = attention(tokens_.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return {TokenSpan(pending_), model::ChainShape{}, cache_, logits, seen};
}

void ModelSession::take(const model::ForwardResult& result, int first_row, int rows) {
  const auto begin = result.reached.begin() + first_row, end = begin + rows;
  owed_ = {};
  if (std::all_of(begin, end, [this](int layers) { return layers == model_.config().num_layers; })) return;
  owed_ = {pending_, {begin, end}, result.last_state.narrow(0, first_row, rows)};
}

// What is owed is computed in the forward of the next row, as far as that goes.
model::ForwardItem ModelSession::grow_behind_owed(std::span<const DraftNode> nodes) {
  const NodeId last = static_cast<NodeId>(drafted_.size());
  FORETELL_CHECK(nodes.size() == 1 && nodes[0].parent == last, "{} nodes behind rows that are owed", nodes.size());
  drafted_.push_back(nodes[0]);
  pending_ = owed_.tokens;
  pending_.push_back(nodes[0].token);
  enters_ = owed_.reached;
  enters_.push_back(0);
  model::ForwardItem item{owed_.state, model::ChainShape{}, cache_, model::LogitRows::All};
  item.enters = enters_;
  item.tokens = pending_;
  item.exit.owed = owed();
  return item;
}

model::ForwardItem ModelSession::grow(std::span<const DraftNode> nodes) {
  if (owed() > 0) return grow_behind_owed(nodes);
  const auto held = static_cast<int>(drafted_.size()) + 1;
  pending_.clear();
  for (const DraftNode& node : nodes) {
    pending_.push_back(node.token);
    drafted_.push_back(node);
  }
  parents_.assign(1, kAnchor);
  for (const DraftNode& node : drafted_) parents_.push_back(node.parent);
  return {TokenSpan(pending_), model::TreeShape{parents_, held}, cache_, model::LogitRows::All,
          attention(tokens_.size())};
}

model::ForwardItem ModelSession::extend_and_grow(TokenSpan tokens, std::span<const DraftNode> nodes) {
  FORETELL_CHECK(drafted_.empty() && !tokens.empty(), "{} drafted rows are in the way of {} tokens", drafted_.size(),
                 tokens.size());
  const auto anchor = static_cast<NodeId>(tokens.size()) - 1;
  pending_.assign(tokens.begin(), tokens.end());
  const model::ItemAttention seen = attention(tokens_.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  parents_.assign(1, kAnchor);
  for (NodeId row = 1; row <= anchor; ++row) parents_.push_back(row - 1);
  for (const DraftNode& node : nodes) {
    pending_.push_back(node.token);
    drafted_.push_back(node);
    parents_.push_back(anchor + node.parent);
  }
  return {TokenSpan(pending_), model::TreeShape{parents_, 0}, cache_, model::LogitRows::All, seen};
}

}  // namespace foretell::bases
