#include "framework/tokenizers/map_vocabularies.h"

#include <algorithm>
#include <unordered_map>

#include "framework/core/error.h"

namespace foretell::tokenizers {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What each token adds to a text, as a key: the text itself, or the spelling of what is not a whole text of its own.
class TokenTexts {
 public:
  explicit TokenTexts(const std::shared_ptr<const Tokenizer>& tokenizer)
      : tokenizer_(tokenizer), before_(tokenizer->encode("a")) {}

  std::string text(Token token) const { return decode_continuation(tokenizer_, before_, TokenSpan(&token, 1)); }
  // Empty for a token that the file leaves unnamed.
  std::string key(Token token) const {
    const std::string text = this->text(token);
    if (!text.empty() && text.find(kReplacement) == std::string::npos) return "t" + text;
    const std::string spelling = tokenizer_->id_to_token(token);
    return spelling.empty() ? "" : "s" + spelling;
  }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  Tokens before_;
};

// By key the lowest token.
std::unordered_map<std::string, Token> tokens_by_key(const Tokenizer& tokenizer, const TokenTexts& texts, int vocab) {
  std::unordered_map<std::string, Token> out;
  for (Token token = 0; token < std::min(vocab, tokenizer.vocab_size()); ++token)
    if (const std::string key = texts.key(token); !key.empty()) out.emplace(key, token);
  return out;
}

}  // namespace

VocabularyMap map_vocabularies(const std::shared_ptr<const Tokenizer>& target, int target_vocab,
                               const std::shared_ptr<const Tokenizer>& draft, int draft_vocab) {
  const TokenTexts target_texts(target), draft_texts(draft);
  const auto by_key = tokens_by_key(*draft, draft_texts, draft_vocab);
  VocabularyMap map;
  map.to_draft.resize(static_cast<std::size_t>(target_vocab));
  map.to_target.assign(static_cast<std::size_t>(draft_vocab), -1);
  const auto join = [&](Token ours, Token theirs) {
    if (ours >= target_vocab || theirs >= draft_vocab) return;
    map.to_draft[static_cast<std::size_t>(ours)] = {theirs};
    Token& back = map.to_target[static_cast<std::size_t>(theirs)];
    if (back < 0) ++map.shared, back = ours;
  };
  if (!target->eos().empty() && !draft->eos().empty()) join(target->eos().front(), draft->eos().front());
  if (target->bos() && draft->bos()) join(*target->bos(), *draft->bos());
  for (Token token = 0; token < std::min(target_vocab, target->vocab_size()); ++token) {
    if (!map.to_draft[static_cast<std::size_t>(token)].empty()) continue;
    if (const auto same = by_key.find(target_texts.key(token)); same != by_key.end()) join(token, same->second);
  }
  // The rest is read as the draft's tokens for its text; what has none as a space or a letter.
  Tokens space = draft->encode(" ");
  if (space.empty()) space = draft->encode("a");  // SentencePiece may drop spaces that nothing follows
  if (space.empty()) space = {0};
  for (Token token = 0; token < target_vocab; ++token) {
    Tokens& own = map.to_draft[static_cast<std::size_t>(token)];
    if (!own.empty()) continue;
    if (token < target->vocab_size()) own = draft->encode(target_texts.text(token));
    std::erase_if(own, [&](Token t) { return t >= draft_vocab; });
    if (own.empty()) own = space;
  }
  return map;
}

SharedIds shared_ids(const Tokenizer& target, const Tokenizer& draft) {
  SharedIds shared;
  shared.count = std::min(target.vocab_size(), draft.vocab_size());
  for (Token token = 0; token < shared.count; ++token) {
    std::string in_target = target.id_to_token(token), in_draft = draft.id_to_token(token);
    if (in_target == in_draft) continue;
    if (shared.different++ == 0)
      shared.first = token, shared.in_target = std::move(in_target), shared.in_draft = std::move(in_draft);
  }
  return shared;
}

}  // namespace foretell::tokenizers
