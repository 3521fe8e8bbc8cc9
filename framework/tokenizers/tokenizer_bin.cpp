// The tokenizer file of llama2.c: int32 length of the longest token, then for each id a float32 score, an int32 length
// and the bytes, to the end of the file. Ids 0, 1, 2 are unknown, BOS and EOS; 3 to 258 are the bytes.
#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <utility>

#include "framework/core/text.h"
#include "framework/tokenizers/models/bpe.h"
#include "framework/tokenizers/stages/segments.h"
#include "framework/tokenizers/stages/vocab.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr Token kUnknown = 0, kBos = 1, kEos = 2, kFirstByte = 3;
constexpr std::int32_t kLongestToken = 1024;  // bytes; bounds the time per character of a text
constexpr float kLowestScore = -1e10F;        // llama2.c merges only above it

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}
  bool at_end() const { return position_ == bytes_.size(); }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view take(std::size_t count, std::string_view what) {
    if (count > bytes_.size() - position_)
      fail("{}: ends at byte {} inside {}, which needs {} from byte {}", name_, bytes_.size(), what,
           counted(count, "byte"), position_);
    position_ += count;
    return bytes_.substr(position_ - count, count);
  }

 private:
  std::string_view bytes_;
  const std::string& name_;
  std::size_t position_ = 0;
};

struct BinPiece {
  std::string text;
  float score;
};

std::deque<BinPiece> read_pieces(std::string_view bytes, const std::string& name) {
  Reader reader(bytes, name);
  const auto longest = reader.number<std::int32_t>("the length of the longest token");
  if (longest <= 0 || longest > kLongestToken)
    fail("{}: says that its longest token has {}; expected 1 to {} (is this a tokenizer of llama2.c?)", name,
         counted(longest, "byte"), kLongestToken);
  std::deque<BinPiece> pieces;
  while (!reader.at_end()) {
    if (pieces.size() == static_cast<std::size_t>(tokenizers::stages::kMaxVocab))
      fail("{}: more than {} tokens", name, tokenizers::stages::kMaxVocab);
    const std::string what = fmt::format("token {}", pieces.size());
    const auto score = reader.number<float>(what);
    const auto length = reader.number<std::int32_t>(what);
    if (length < 0 || length > kLongestToken)
      fail("{}: {} has length {}; expected 0 to {}", name, what, length, kLongestToken);
    pieces.push_back({std::string(reader.take(static_cast<std::size_t>(length), what)), score});
  }
  if (pieces.size() <= static_cast<std::size_t>(kFirstByte))
    fail("{}: has {}; expected the unknown token, BOS, EOS and more", name, counted(pieces.size(), "token"));
  return pieces;
}

class BinTokenizer : public Tokenizer {
 public:
  BinTokenizer(std::string_view bytes, const std::string& name, const SpecialTokenSettings& settings)
      : pieces_(read_pieces(bytes, name)),
        add_bos_(settings.add_bos.value_or(true)),
        add_eos_(settings.add_eos.value_or(false)) {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      ids_.try_emplace(pieces_[i].text, static_cast<Token>(i));
      longest_ = std::max(longest_, pieces_[i].text.size());
    }
    specials_.insert("<s>", kBos);
    specials_.insert("</s>", kEos);
    ends_ = find_end_tokens(*this, settings, {kBos, {kEos}}, name);
  }

  int vocab_size() const override { return static_cast<int>(pieces_.size()); }
  std::optional<Token> bos() const override { return ends_.bos; }
  std::vector<Token> eos() const override { return ends_.eos; }
  std::string kind() const override { return "llama2.c .bin"; }

  std::optional<Token> token_to_id(std::string_view piece) const override {
    if (piece == "<s>") return kBos;
    if (piece == "</s>") return kEos;
    return find(piece);
  }

  std::string id_to_token(Token id) const override {
    if (id < 0 || id >= vocab_size()) fail("token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    return id == kBos ? "<s>" : id == kEos ? "</s>" : pieces_[static_cast<std::size_t>(id)].text;
  }

  Tokens encode(std::string_view text, const EncodeOptions& options) const override {
    Tokens ids;
    if (options.add_special && add_bos_ && ends_.bos) ids.push_back(*ends_.bos);
    const auto plain = [&](std::string_view part) { encode_plain(part, ids); };
    tokenizers::stages::cut_at_specials(
        text, specials_, options.parse_special, [&](Token id) { ids.push_back(id); }, plain);
    if (options.add_special && add_eos_ && !ends_.eos.empty()) ids.push_back(ends_.eos.front());
    return ids;
  }

  std::unique_ptr<DecodeState> start_decoding(bool) const override { return std::make_unique<State>(*this); }

 private:
  // The space that stands for the start of a text is not part of it: it goes from the first piece and from the one
  // behind BOS.
  class State : public DecodeState {
   public:
    explicit State(const BinTokenizer& owner) : owner_(owner) {}
    void push(Token id, std::string& out) override {
      const bool after_start = std::exchange(after_start_, id == kBos);
      if (id == kBos || id == kEos) return;
      std::string_view piece = owner_.pieces_[static_cast<std::size_t>(id)].text;
      const auto byte = owner_.byte_value(id);
      if (after_start && piece.starts_with(' ')) piece.remove_prefix(1);
      repair_.push(byte ? std::string_view(&*byte, 1) : piece, out);
    }
    void finish(std::string& out) override { repair_.finish(out); }

   private:
    const BinTokenizer& owner_;
    bool after_start_ = true;
    unicode::Utf8Repair repair_;
  };

  std::optional<Token> find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  // The byte of a piece such as <0x0A>.
  std::optional<char> byte_value(Token id) const {
    if (id < kFirstByte || id >= kFirstByte + 256) return std::nullopt;
    const auto byte = static_cast<unsigned char>(id - kFirstByte);
    if (pieces_[static_cast<std::size_t>(id)].text != fmt::format("<0x{:02X}>", byte)) return std::nullopt;
    return static_cast<char>(byte);
  }

  void encode_plain(std::string_view text, Tokens& out) const {
    tokenizers::models::MergeList list;
    if (const auto space = find(" ")) list.push(*space);
    for (std::size_t i = 0; i < text.size();) {
      std::size_t end = i + 1;
      while (end < text.size() && end - i < 4 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      push_character(text.substr(i, end - i), list);
      i = end;
    }
    list.merge_all([this](Token left, Token right) { return find_merge(left, right); });
    list.append_to(out);
  }

  void push_character(std::string_view character, tokenizers::models::MergeList& list) const {
    if (const auto id = find(character)) {
      list.push(*id);
      return;
    }
    for (const char byte : character) {
      const Token id = kFirstByte + static_cast<unsigned char>(byte);
      list.push(id < vocab_size() ? id : kUnknown);
    }
  }

  std::optional<tokenizers::models::MergeCandidate> find_merge(Token left, Token right) const {
    const std::string &a = pieces_[static_cast<std::size_t>(left)].text,
                      &b = pieces_[static_cast<std::size_t>(right)].text;
    if (a.size() + b.size() > longest_) return std::nullopt;
    const auto merged = find(a + b);
    if (!merged) return std::nullopt;
    const float score = pieces_[static_cast<std::size_t>(*merged)].score;
    if (!(score > kLowestScore)) return std::nullopt;  // also where it is not a number
    return tokenizers::models::MergeCandidate{
        .rank = -static_cast<double>(score), .position = 0, .left = left, .right = right, .merged = *merged};
  }

  std::deque<BinPiece> pieces_;
  std::unordered_map<std::string_view, Token> ids_;  // the first of equal texts
  std::size_t longest_ = 0;
  bool add_bos_;
  bool add_eos_;
  tokenizers::stages::ByteTrie specials_;
  EndTokens ends_;
};

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer_bin(std::string_view bytes, const std::string& name,
                                                     const SpecialTokenSettings& settings) {
  return std::make_shared<const BinTokenizer>(bytes, name, settings);
}

}  // namespace foretell::tokenizers
