// The WordLevel and WordPiece models of a tokenizer.json: a piece is one entry, or is covered from the left by the
// longest entries.
#include <algorithm>

#include "framework/core/text.h"
#include "framework/tokenizers/models/token_model.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::models {
namespace {

class WordLevelModel : public TokenModel {
 public:
  explicit WordLevelModel(const io::JsonView& json) : unknown_text_(json.string_or("unk_token", "<unk>")) {
    read_vocab_object(json.at("vocab"));
    unknown_ = vocab_.id(unknown_text_);
  }

  std::string name() const override { return "WordLevel"; }

  void tokenize(const tokenizers::stages::Pieces& pieces, Tokens& out) const override {
    for (const unicode::TextRange range : pieces.ranges) {
      const auto id = vocab_.id(pieces.view(range));
      if (!id && !unknown_)
        fail("the tokenizer has no token for \"{}\" and no \"{}\"", unicode::printable(pieces.view(range)),
             unicode::printable(unknown_text_));
      out.push_back(id ? *id : *unknown_);
    }
  }

 private:
  std::string unknown_text_;
  std::optional<Token> unknown_;
};

constexpr std::size_t kMaxWordPiece = 1024;  // bytes; bounds the time per character of a text

class WordPieceModel : public TokenModel {
 public:
  explicit WordPieceModel(const io::JsonView& json)
      : unknown_text_(json.string_or("unk_token", "[UNK]")),
        prefix_(json.string_or("continuing_subword_prefix", "##")),
        longest_word_(std::clamp<std::int64_t>(json.integer_or("max_input_chars_per_word", 100), 0, 10'000)) {
    read_vocab_object(json.at("vocab"));
    unknown_ = vocab_.id(unknown_text_);
    for (Token id = 0; id < vocab_.size(); ++id)
      if (const std::string* text = vocab_.text(id)) longest_entry_ = std::max(longest_entry_, text->size());
    if (longest_entry_ > kMaxWordPiece)
      json.refuse(fmt::format("an entry of {}; at most {} are taken", counted(longest_entry_, "byte"), kMaxWordPiece));
  }

  std::string name() const override { return "WordPiece"; }

  void tokenize(const tokenizers::stages::Pieces& pieces, Tokens& out) const override {
    for (const unicode::TextRange range : pieces.ranges) {
      const std::size_t before = out.size();
      if (append_word(pieces.view(range), out)) continue;
      if (!unknown_)
        fail("the tokenizer needs its unknown token \"{}\", which is not in its vocabulary",
             unicode::printable(unknown_text_));
      out.resize(before);
      out.push_back(*unknown_);
    }
  }

 private:
  bool append_word(std::string_view word, Tokens& out) const {
    if (static_cast<std::int64_t>(unicode::to_utf32(word).size()) > longest_word_) return false;
    for (std::size_t begin = 0; begin < word.size();) {
      const std::string start = begin == 0 ? "" : prefix_;
      // No entry is longer; a position inside of a character is moved to its start.
      std::size_t end = std::min(word.size(), begin + longest_entry_ + 1);
      while (end < word.size() && (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80) --end;
      std::optional<Token> id;
      for (; end > begin; end -= static_cast<std::size_t>(unicode::before(word, end).bytes)) {
        id = vocab_.id(start + std::string(word.substr(begin, end - begin)));
        if (id) break;
      }
      if (!id) return false;
      out.push_back(*id);
      begin = end;
    }
    return true;
  }

  std::string unknown_text_;
  std::string prefix_;
  std::int64_t longest_word_;
  std::size_t longest_entry_ = 0;
  std::optional<Token> unknown_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_word_level(const io::JsonView& json) {
  return std::make_unique<WordLevelModel>(json);
}
std::unique_ptr<const TokenModel> make_word_piece(const io::JsonView& json) {
  return std::make_unique<WordPieceModel>(json);
}

}  // namespace foretell::tokenizers::models
