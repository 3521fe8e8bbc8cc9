// Token texts and their ids.
//
// Contract: ids are in [0, kMaxVocab); a text and an id are given once. Filled while a file is read, constant after.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/types.h"

namespace foretell::tokenizers::stages {

inline constexpr Token kMaxVocab = 1 << 22;

// `id` as a file states it; Error unless it is in [0, kMaxVocab).
Token checked_id(std::int64_t id, const Location& where, std::string_view what);

class Vocab {
 public:
  Vocab() = default;
  Vocab(const Vocab&) = delete;  // the map refers to the stored texts
  Vocab& operator=(const Vocab&) = delete;

  void add(std::string_view text, std::int64_t id, const Location& where);
  std::optional<Token> id(std::string_view text) const;
  const std::string* text(Token id) const;                      // nullptr where the id is not named
  int size() const { return static_cast<int>(texts_.size()); }  // above every id

 private:
  std::deque<std::string> storage_;
  std::vector<const std::string*> texts_;
  std::unordered_map<std::string_view, Token> ids_;
};

}  // namespace foretell::tokenizers::stages
