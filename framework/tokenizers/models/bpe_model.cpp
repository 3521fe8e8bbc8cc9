// The BPE model of a tokenizer.json (Sennrich, Haddow & Birch 2016, arXiv 1508.07909).
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "framework/tokenizers/models/bpe.h"
#include "framework/tokenizers/models/token_model.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::models {
namespace {

struct Merge {
  double rank;
  Token merged;
};

class BpeModel : public TokenModel {
 public:
  explicit BpeModel(const io::JsonView& json)
      : prefix_(json.string_or("continuing_subword_prefix", "")),
        suffix_(json.string_or("end_of_word_suffix", "")),
        byte_fallback_(json.boolean_or("byte_fallback", false)),
        fuse_unknown_(json.boolean_or("fuse_unk", false)),
        ignore_merges_(json.boolean_or("ignore_merges", false)) {
    // Dropout is a setting of training: "null" and 0 are the same, and what is deterministic must stay so.
    if (const auto dropout = json.find("dropout"); dropout && dropout->number() != 0)
      dropout->refuse("BPE dropout is not supported; expected null or 0");
    read_vocab_object(json.at("vocab"));
    if (const auto unknown = json.find("unk_token")) read_unknown(*unknown);
    for (int byte = 0; byte < 256; ++byte)
      byte_tokens_.push_back(vocab_.id(byte_token(static_cast<unsigned char>(byte))));
    read_merges(json.at("merges"));
  }

  std::string name() const override { return "BPE"; }

  void tokenize(const tokenizers::stages::Pieces& pieces, Tokens& out) const override {
    MergeList word;
    for (const unicode::TextRange range : pieces.ranges) {
      const std::string_view text = pieces.view(range);
      if (ignore_merges_) {
        if (const auto whole = vocab_.id(text)) {
          out.push_back(*whole);
          continue;
        }
      }
      word.clear();
      fill(word, text);
      word.merge_all([this](Token left, Token right) { return find_merge(left, right); });
      word.append_to(out);
    }
  }

 private:
  static std::uint64_t key(Token left, Token right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }

  std::optional<Merge> find_merge(Token left, Token right) const {
    const auto found = merges_.find(key(left, right));
    return found == merges_.end() ? std::nullopt : std::optional(found->second);
  }

  void read_unknown(const io::JsonView& json) {
    unknown_ = vocab_.id(json.string());
    // A file may name an unknown token that it never needs; the reference library complains only when it is needed, and
    // so do we.
    unknown_text_ = json.string();
  }

  void read_merges(const io::JsonView& json) {
    const std::size_t count = json.size();
    merges_.reserve(count);
    double rank = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const nlohmann::json& entry = json.raw()[i];
      if (entry.is_string() && entry.get_ref<const std::string&>().starts_with("#version")) continue;
      const auto [left, right] = read_pair(json, i);
      add_merge(json, i, left, right, rank++);
    }
  }

  static std::pair<std::string_view, std::string_view> read_pair(const io::JsonView& json, std::size_t i) {
    const nlohmann::json& entry = json.raw()[i];
    if (entry.is_string()) {
      const std::string_view text = entry.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos)
        return {text.substr(0, space), text.substr(space + 1)};
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      return {entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>()};
    }
    json.at(i).refuse("expected \"left right\" or [\"left\", \"right\"]");
  }

  void add_merge(const io::JsonView& json, std::size_t i, std::string_view left, std::string_view right, double rank) {
    const auto need = [&](std::string_view text) {
      const auto id = vocab_.id(text);
      if (!id) json.at(i).refuse(fmt::format("\"{}\" is not in the vocabulary", unicode::printable(text)));
      return *id;
    };
    const Token left_id = need(left), right_id = need(right);
    if (right.size() < prefix_.size())
      json.at(i).refuse(
          fmt::format("\"{}\" is shorter than the prefix of continuing words", unicode::printable(right)));
    const Token merged = need(fmt::format("{}{}", left, right.substr(prefix_.size())));
    merges_[key(left_id, right_id)] = {rank, merged};
  }

  // One symbol for each character; for one outside the vocabulary its bytes, or the unknown token, or nothing.
  void fill(MergeList& word, std::string_view text) const {
    bool pending_unknown = false;  // an unknown token that is written before the next known one
    std::string symbol;
    for (std::size_t i = 0; i < text.size();) {
      const auto bytes = static_cast<std::size_t>(unicode::at(text, i).bytes);
      symbol.assign(i == 0 ? "" : prefix_);
      symbol += text.substr(i, bytes);
      i += bytes;
      if (i == text.size()) symbol += suffix_;
      if (const auto id = vocab_.id(symbol)) {
        if (pending_unknown) word.push(*unknown_);
        pending_unknown = false;
        word.push(*id);
      } else if (!byte_fallback_ || !push_bytes(word, symbol)) {
        if (pending_unknown && !fuse_unknown_) word.push(*unknown_);
        pending_unknown = has_unknown();
      }
    }
    if (pending_unknown) word.push(*unknown_);
  }

  bool push_bytes(MergeList& word, std::string_view symbol) const {
    for (const char byte : symbol)
      if (!byte_tokens_[static_cast<unsigned char>(byte)]) return false;
    for (const char byte : symbol) word.push(*byte_tokens_[static_cast<unsigned char>(byte)]);
    return true;
  }

  bool has_unknown() const {
    if (unknown_text_ && !unknown_)
      fail("the tokenizer needs its unknown token \"{}\", which is not in its vocabulary",
           unicode::printable(*unknown_text_));
    return unknown_.has_value();
  }

  std::string prefix_;
  std::string suffix_;
  bool byte_fallback_;
  bool fuse_unknown_;
  bool ignore_merges_;
  std::optional<Token> unknown_;
  std::optional<std::string> unknown_text_;
  std::vector<std::optional<Token>> byte_tokens_;
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_bpe(const io::JsonView& json) { return std::make_unique<BpeModel>(json); }

}  // namespace foretell::tokenizers::models
