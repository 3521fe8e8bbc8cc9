#include "experiments/certify/toy_tokenizer.h"

#include "framework/core/error.h"

namespace foretell::certify {
namespace {

class LetterTokenizer final : public tokenizers::Tokenizer {
 public:
  explicit LetterTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}

  int vocab_size() const override { return static_cast<int>(pieces_.size()); }
  // The longest piece first; a letter that no piece has is token 0.
  Tokens encode(std::string_view text, const tokenizers::EncodeOptions&) const override {
    Tokens out;
    while (!text.empty()) {
      Token best = 0;
      std::size_t length = 0;
      for (std::size_t t = 0; t < pieces_.size(); ++t)
        if (pieces_[t].size() > length && text.substr(0, pieces_[t].size()) == pieces_[t])
          best = static_cast<Token>(t), length = pieces_[t].size();
      out.push_back(best);
      text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return out;
  }
  std::unique_ptr<tokenizers::DecodeState> start_decoding(bool) const override {
    return std::make_unique<Decoding>(*this);
  }
  std::optional<Token> bos() const override { return std::nullopt; }
  std::vector<Token> eos() const override { return {}; }
  std::optional<Token> token_to_id(std::string_view piece) const override {
    for (std::size_t t = 0; t < pieces_.size(); ++t)
      if (pieces_[t] == piece) return static_cast<Token>(t);
    return std::nullopt;
  }
  std::string id_to_token(Token id) const override {
    FORETELL_CHECK(id >= 0 && id < vocab_size(), "token {}", id);
    return pieces_[static_cast<std::size_t>(id)];
  }
  std::string kind() const override { return "letters"; }

 private:
  struct Decoding final : tokenizers::DecodeState {
    explicit Decoding(const LetterTokenizer& of) : tokenizer(of) {}
    void push(Token id, std::string& out) override { out += tokenizer.id_to_token(id); }
    void finish(std::string&) override {}
    const LetterTokenizer& tokenizer;
  };
  std::vector<std::string> pieces_;
};

std::vector<std::string> letters(int count) {
  std::vector<std::string> out;
  out.reserve(static_cast<std::size_t>(count));
  for (int t = 0; t < count; ++t) out.emplace_back(1, static_cast<char>('a' + t));
  return out;
}

}  // namespace

std::shared_ptr<const tokenizers::Tokenizer> toy_target_tokenizer(int vocab) {
  return std::make_shared<LetterTokenizer>(letters(vocab));
}

std::shared_ptr<const tokenizers::Tokenizer> toy_draft_tokenizer(int vocab) {
  std::vector<std::string> pieces = letters(vocab - 1);
  pieces.emplace_back("ab");
  return std::make_shared<LetterTokenizer>(std::move(pieces));
}

}  // namespace foretell::certify
