#include "framework/decode/model_session.h"

#include <algorithm>
#include <optional>

#include "framework/base/error.h"

namespace foretell {

int ModelSession::align(TokenSpan prefix) {
  FORETELL_CHECK(!prefix.empty(), "a prefix of {} tokens", prefix.size());
  const std::size_t most = prefix.size() - 1;
  std::size_t common = 0;
  while (common < std::min(most, tokens_.size()) && tokens_[common] == prefix[common]) ++common;

  const auto base = static_cast<int>(tokens_.size());
  std::vector<int> kept;  // drafted rows on the path, relative to `base`
  if (common == tokens_.size()) {
    NodeId at = kAnchor;
    while (common < most) {
      const auto next =
          std::find_if(drafted_.begin(), drafted_.end(), [&](const DraftNode& n) { return n.parent == at && n.token == prefix[common]; });
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
  tokens_.assign(prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(common));
  drafted_.clear();
  return static_cast<int>(common);
}

ForwardItem ModelSession::extend(TokenSpan tokens, LogitRows logits) {
  FORETELL_CHECK(drafted_.empty(), "{} drafted rows are in the way", drafted_.size());
  pending_.assign(tokens.begin(), tokens.end());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return {TokenSpan(pending_), ChainShape{}, cache_.get(), logits};
}

ForwardItem ModelSession::grow(std::span<const DraftNode> nodes) {
  const auto held = static_cast<int>(drafted_.size()) + 1;
  pending_.clear();
  for (const DraftNode& node : nodes) {
    pending_.push_back(node.token);
    drafted_.push_back(node);
  }
  parents_.assign(1, kAnchor);
  for (const DraftNode& node : drafted_) parents_.push_back(node.parent);
  return {TokenSpan(pending_), TreeShape{parents_, held}, cache_.get(), LogitRows::All};
}

ForwardItem ModelSession::extend_and_grow(TokenSpan tokens, std::span<const DraftNode> nodes) {
  FORETELL_CHECK(drafted_.empty() && !tokens.empty(), "{} drafted rows are in the way of {} tokens", drafted_.size(), tokens.size());
  const auto anchor = static_cast<NodeId>(tokens.size()) - 1;
  pending_.assign(tokens.begin(), tokens.end());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  parents_.assign(1, kAnchor);
  for (NodeId row = 1; row <= anchor; ++row) parents_.push_back(row - 1);
  for (const DraftNode& node : nodes) {
    pending_.push_back(node.token);
    drafted_.push_back(node);
    parents_.push_back(anchor + node.parent);
  }
  return {TokenSpan(pending_), TreeShape{parents_, 0}, cache_.get(), LogitRows::All};
}

}  // namespace foretell
