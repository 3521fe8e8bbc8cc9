#include "framework/tokenizers/stages/vocab.h"

#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {

Token checked_id(std::int64_t id, const Location& where, std::string_view what) {
  if (id < 0 || id >= kMaxVocab)
    fail_at(where, "\"{}\" has id {}; ids are from 0 to {}", unicode::printable(what), id, kMaxVocab - 1);
  return static_cast<Token>(id);
}

void Vocab::add(std::string_view text, std::int64_t id, const Location& where) {
  const auto index = static_cast<std::size_t>(checked_id(id, where, text));
  if (index >= texts_.size()) texts_.resize(index + 1, nullptr);
  if (texts_[index] != nullptr)
    fail_at(where, "id {} is given to \"{}\" and to \"{}\"", id, unicode::printable(*texts_[index]),
            unicode::printable(text));
  storage_.emplace_back(text);
  if (!ids_.emplace(storage_.back(), static_cast<Token>(id)).second)
    fail_at(where, "\"{}\" is named twice", unicode::printable(text));
  texts_[index] = &storage_.back();
}

std::optional<Token> Vocab::id(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Vocab::text(Token id) const {
  return id >= 0 && id < size() ? texts_[static_cast<std::size_t>(id)] : nullptr;
}

}  // namespace foretell::tokenizers::stages
