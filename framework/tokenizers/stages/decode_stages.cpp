#include "framework/tokenizers/stages/decode_stages.h"

#include <array>
#include <optional>
#include <utility>

#include "framework/tokenizers/stages/byte_level.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {
namespace {

std::optional<unsigned char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                               : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<unsigned char>(value);
}

}  // namespace

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t position = 0;
  for (std::size_t i = text.find(from); i != std::string::npos; i = text.find(from, position)) {
    out.append(text, position, i - position).append(to);
    position = i + from.size();
  }
  return position == 0 ? text : out.append(text, position);
}

void JoinBySpace::begin() {
  next_->begin();
  if (!first_) next_->text(" ");
  first_ = false;
}

void ByteLevelStage::token(std::string text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const unicode::Character c = unicode::at(text, i);
    const auto byte = byte_level::to_byte(c.code);
    if (!byte) {
      bytes = text;
      break;
    }
    bytes.push_back(static_cast<char>(*byte));
    i += static_cast<std::size_t>(c.bytes);
  }
  if (!std::exchange(begun_, true)) next_->begin();
  std::string out;
  repair_.push(bytes, out);
  if (!out.empty()) next_->text(out);
}

void ByteLevelStage::finish() {
  if (begun_) {
    std::string out;
    repair_.finish(out);
    if (!out.empty()) next_->text(out);
    next_->end();
  }
  next_->finish();
}

void MetaspaceStage::token(std::string text) {
  pass(replace_all(std::move(text), replacement_, std::exchange(drop_, false) ? "" : " "));
}

void ByteFallbackStage::token(std::string text) {
  if (const auto byte = fallback_byte(text)) {
    bytes_.push_back(static_cast<char>(*byte));
    return;
  }
  flush();
  pass(text);
}

void ByteFallbackStage::flush() {
  if (bytes_.empty()) return;
  if (unicode::is_valid(bytes_)) {
    pass(bytes_);
  } else {
    for (std::size_t i = 0; i < bytes_.size(); ++i) pass(unicode::kReplacement);
  }
  bytes_.clear();
}

void ByteFallbackStage::finish() {
  flush();
  next_->finish();
}

void FuseStage::begin() {
  if (!std::exchange(begun_, true)) next_->begin();
}

void FuseStage::finish() {
  if (begun_) next_->end();
  next_->finish();
}

void StripStage::begin() {
  start_left_ = start_;
  held_ = 0;
  next_->begin();
}

void StripStage::text(std::string_view part) {
  while (start_left_ > 0 && part.starts_with(content_)) {
    part.remove_prefix(content_.size());
    --start_left_;
  }
  if (!part.empty()) start_left_ = 0;  // parts are whole characters, so this one is another
  give(part);
}

void StripStage::give(std::string_view part) {
  if (part.empty()) return;
  std::size_t at_end = 0;
  std::string_view body = part;
  while (at_end < stop_ && body.ends_with(content_)) {
    body.remove_suffix(content_.size());
    ++at_end;
  }
  // What was held stays at the end only if this part is all `content`; the oldest of too many is certain to stay.
  const std::size_t held_before = std::exchange(held_, at_end);
  std::size_t released = held_before;
  if (body.empty()) {
    held_ = std::min(stop_, held_before + at_end);
    released = held_before + at_end - held_;
  }
  std::string out;
  for (std::size_t i = 0; i < released; ++i) out += content_;
  next_->text(out.append(body));
}

void StripStage::end() {
  held_ = 0;
  next_->end();
}

void ReplaceStage::begin() {
  held_.clear();
  next_->begin();
}

void ReplaceStage::text(std::string_view part) {
  held_ += part;
  std::string out;
  std::size_t position = 0;
  for (std::size_t i = held_.find(from_); i != std::string::npos; i = held_.find(from_, position)) {
    out.append(held_, position, i - position).append(to_);
    position = i + from_.size();
  }
  std::string rest = held_.substr(position);
  std::size_t keep = std::min(rest.size(), from_.size() - 1);
  while (keep > 0 && !from_.starts_with(std::string_view(rest).substr(rest.size() - keep))) --keep;
  next_->text(out.append(rest, 0, rest.size() - keep));
  held_ = rest.substr(rest.size() - keep);
}

void ReplaceStage::end() {
  if (!held_.empty()) next_->text(held_);
  next_->end();
}

void ReplaceRegexStage::token(std::string text) {
  std::string out;
  std::size_t position = 0;
  for (const unicode::TextRange match : pattern_.find_all(text)) {
    out.append(text, position, match.begin - position).append(to_);
    position = match.end;
  }
  pass(out.append(text, position));
}

void WordPieceStage::token(std::string text) {
  if (!std::exchange(first_, false)) {
    if (text.starts_with(prefix_))
      text.erase(0, prefix_.size());
    else
      text.insert(0, " ");
  }
  if (cleanup_) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> rules = {{{" .", "."},
                                                                                             {" ?", "?"},
                                                                                             {" !", "!"},
                                                                                             {" ,", ","},
                                                                                             {" ' ", "'"},
                                                                                             {" n't", "n't"},
                                                                                             {" 'm", "'m"},
                                                                                             {" do not", " don't"},
                                                                                             {" 's", "'s"},
                                                                                             {" 've", "'ve"},
                                                                                             {" 're", "'re"}}};
    for (const auto& [from, to] : rules) text = replace_all(std::move(text), from, to);
  }
  pass(text);
}

void WordSuffixStage::token(std::string text) {
  if (std::exchange(holding_, true)) pass(replace_all(std::move(held_), suffix_, " "));
  held_ = std::move(text);
}

void WordSuffixStage::finish() {
  if (std::exchange(holding_, false)) pass(replace_all(std::move(held_), suffix_, ""));
  next_->finish();
}

}  // namespace foretell::tokenizers::stages
