#include "framework/tokenizers/models/bpe.h"

namespace foretell::tokenizers::models {

void MergeList::clear() {
  tokens_.clear();
  next_.clear();
  previous_.clear();
  queue_ = {};
}

void MergeList::push(Token symbol) {
  const int index = static_cast<int>(tokens_.size());
  tokens_.push_back(symbol);
  previous_.push_back(index - 1);
  next_.push_back(index + 1);
}

// A candidate is out of date when either of its symbols has been merged since.
bool MergeList::still_there(const MergeCandidate& candidate) const {
  const auto left = static_cast<std::size_t>(candidate.position);
  if (tokens_[left] != candidate.left) return false;
  const auto right = static_cast<std::size_t>(next_[left]);
  return right < tokens_.size() && tokens_[right] == candidate.right;
}

void MergeList::join(const MergeCandidate& candidate) {
  const auto left = static_cast<std::size_t>(candidate.position);
  const auto right = static_cast<std::size_t>(next_[left]);
  tokens_[left] = candidate.merged;
  tokens_[right] = kGone;
  next_[left] = next_[right];
  if (static_cast<std::size_t>(next_[left]) < tokens_.size())
    previous_[static_cast<std::size_t>(next_[left])] = candidate.position;
}

void MergeList::append_to(Tokens& out) const {
  for (const Token token : tokens_)
    if (token != kGone) out.push_back(token);
}

}  // namespace foretell::tokenizers::models
