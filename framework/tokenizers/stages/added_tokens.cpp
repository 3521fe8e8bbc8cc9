#include "framework/tokenizers/stages/added_tokens.h"

#include <algorithm>

#include "framework/core/text.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {
namespace {

constexpr std::size_t kMaxContent = 1024;  // bytes; bounds the time per character of a text

bool stands_alone(std::string_view text, unicode::TextRange match) {
  const bool word_before = match.begin > 0 && unicode::is_word(unicode::before(text, match.begin).code);
  const bool word_behind = match.end < text.size() && unicode::is_word(unicode::at(text, match.end).code);
  return !word_before && !word_behind;
}

std::size_t skip_space_back(std::string_view text, std::size_t position) {
  while (position > 0 && unicode::is_space(unicode::before(text, position).code))
    position -= static_cast<std::size_t>(unicode::before(text, position).bytes);
  return position;
}

std::size_t skip_space(std::string_view text, std::size_t position) {
  while (position < text.size() && unicode::is_space(unicode::at(text, position).code))
    position += static_cast<std::size_t>(unicode::at(text, position).bytes);
  return position;
}

}  // namespace

AddedTokens::AddedTokens(const io::JsonView* list, const Vocab& model_vocab, const Normalizer* normalizer) {
  if (list == nullptr) return;
  for (std::size_t i = 0; i < list->size(); ++i) add(list->at(i), model_vocab);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    const std::string text =
        token.normalized && normalizer != nullptr ? normalizer->apply(token.content) : token.content;
    if (text.size() > kMaxContent)
      fail("{}: added token \"{}\" is normalized to {}; at most {} are taken", list->where().to_string(),
           unicode::printable(token.content), counted(text.size(), "byte"), kMaxContent);
    if (!text.empty()) (token.normalized ? normalized_ : raw_).insert(text, static_cast<std::int32_t>(i));
  }
}

void AddedTokens::add(const io::JsonView& json, const Vocab& model_vocab) {
  const std::string& content = json.at("content").string();
  if (content.size() > kMaxContent)
    json.refuse(
        fmt::format("an added token of {}; at most {} are taken", counted(content.size(), "byte"), kMaxContent));
  if (content.empty() || vocab_.id(content)) return;  // as the reference library does; the first of two stays
  AddedToken token{content,
                   checked_id(json.at("id").integer(), json.where(), content),
                   json.boolean_or("single_word", false),
                   json.boolean_or("lstrip", false),
                   json.boolean_or("rstrip", false),
                   json.boolean_or("normalized", !json.boolean_or("special", false)),
                   json.boolean_or("special", false)};
  if (const auto in_model = model_vocab.id(content)) {
    token.id = *in_model;  // the model's id is what the model was trained with
  } else if (const std::string* other = model_vocab.text(token.id)) {
    json.refuse(fmt::format("id {} of \"{}\" is that of \"{}\" in the model's vocabulary", token.id,
                            unicode::printable(content), unicode::printable(*other)));
  }
  vocab_.add(content, token.id, {fmt::format("{}: {}", json.where().to_string(), json.path()), std::nullopt});
  if (token.special) special_.insert(content);
  tokens_.push_back(std::move(token));
}

std::vector<Segment> AddedTokens::split(std::string_view text, const ByteTrie& trie, bool parse_special) const {
  std::vector<Segment> segments;
  std::size_t done = 0;  // what is before has been given out
  for (std::size_t i = 0; i < text.size();) {
    unicode::TextRange match{i, i};
    std::int32_t index = 0;
    trie.walk(text, i, [&](std::size_t end, std::int32_t value) { match.end = end, index = value; });
    if (match.end == i) {
      ++i;
      continue;
    }
    i = match.end;  // a match that is turned down below still hides what overlaps it
    const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
    if (token.special && !parse_special) continue;
    if (token.single_word && !stands_alone(text, match)) continue;
    if (token.lstrip) match.begin = std::max(skip_space_back(text, match.begin), done);
    if (token.rstrip) match.end = skip_space(text, match.end);
    if (done < match.begin) segments.push_back({{done, match.begin}, std::nullopt});
    segments.push_back({match, token.id});
    done = match.end;
  }
  if (done < text.size()) segments.push_back({{done, text.size()}, std::nullopt});
  return segments;
}

}  // namespace foretell::tokenizers::stages
