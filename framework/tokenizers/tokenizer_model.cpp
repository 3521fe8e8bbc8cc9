// tokenizer.model: encoding by the SentencePiece library (Kudo & Richardson 2018, arXiv 1808.06226). Decoding is done
// here, by the same rules, because the library decodes whole sequences only.
#include <sentencepiece_processor.h>

#include <algorithm>
#include <utility>

#include "framework/tokenizers/sentencepiece_file.h"
#include "framework/tokenizers/stages/decode_stages.h"
#include "framework/tokenizers/stages/segments.h"
#include "framework/tokenizers/stages/vocab.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

// Bytes to characters; each byte that belongs to none is one U+FFFD (the library counts bytes, Utf8Repair counts
// prefixes of characters).
class ByteRun {
 public:
  void push(unsigned char byte, std::string& out) {
    waiting_.push_back(static_cast<char>(byte));
    while (!waiting_.empty() && settle(out)) {
    }
  }
  void finish(std::string& out) {
    for (std::size_t i = 0; i < waiting_.size(); ++i) out += unicode::kReplacement;
    waiting_.clear();
  }

 private:
  // Writes the first character or the first byte that cannot start one; false if more bytes are needed to know.
  bool settle(std::string& out) {
    unicode::Utf8Repair repair;
    std::string text;
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      repair.push(std::string_view(waiting_).substr(i, 1), text);
      if (text.empty()) continue;
      const bool whole = !text.starts_with(unicode::kReplacement) || waiting_.starts_with(unicode::kReplacement);
      out += whole ? waiting_.substr(0, i + 1) : std::string(unicode::kReplacement);
      waiting_.erase(0, whole ? i + 1 : 1);
      return true;
    }
    return false;
  }

  std::string waiting_;
};

class ModelTokenizer : public Tokenizer {
 public:
  ModelTokenizer(std::string_view bytes, const std::string& name, const SpecialTokenSettings& settings)
      : file_(scan_sentencepiece(bytes, name)),
        add_bos_(settings.add_bos.value_or(true)),
        add_eos_(settings.add_eos.value_or(false)) {
    load(bytes, name);
    FORETELL_CHECK(processor_.GetPieceSize() == vocab_size(), "{} pieces, scanned {}", processor_.GetPieceSize(),
                   vocab_size());
    for (int id = 0; id < vocab_size(); ++id) {
      const auto& piece = file_.pieces[static_cast<std::size_t>(id)];
      if (piece.type == PieceType::kControl || piece.type == PieceType::kUnknown) specials_.insert(piece.text, id);
    }
    const auto optional = [](int id) { return id >= 0 ? std::optional<Token>(id) : std::nullopt; };
    EndTokens own{optional(processor_.bos_id()), {}};
    if (processor_.eos_id() >= 0) own.eos.push_back(processor_.eos_id());
    ends_ = find_end_tokens(*this, settings, own, name);
  }

  int vocab_size() const override { return static_cast<int>(file_.pieces.size()); }
  std::optional<Token> bos() const override { return ends_.bos; }
  std::vector<Token> eos() const override { return ends_.eos; }
  std::string kind() const override { return "tokenizer.model (SentencePiece)"; }

  std::optional<Token> token_to_id(std::string_view piece) const override {
    const int id = processor_.PieceToId({piece.data(), piece.size()});
    // The library answers the unknown token for whatever it does not have.
    if (id < 0 || id >= vocab_size() || file_.pieces[static_cast<std::size_t>(id)].text != piece) return std::nullopt;
    return id;
  }

  std::string id_to_token(Token id) const override {
    if (id < 0 || id >= vocab_size()) fail("token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    return file_.pieces[static_cast<std::size_t>(id)].text;
  }

  Tokens encode(std::string_view text, const EncodeOptions& options) const override {
    Tokens ids;
    if (options.add_special && add_bos_ && ends_.bos) ids.push_back(*ends_.bos);
    const auto plain = [&](std::string_view part) {
      std::vector<int> part_ids;
      const auto status = processor_.Encode({part.data(), part.size()}, &part_ids);
      if (!status.ok()) fail("SentencePiece cannot encode a text: {}", unicode::printable(status.ToString()));
      ids.insert(ids.end(), part_ids.begin(), part_ids.end());
    };
    tokenizers::stages::cut_at_specials(
        text, specials_, options.parse_special, [&](Token id) { ids.push_back(id); }, plain);
    if (options.add_special && add_eos_ && !ends_.eos.empty()) ids.push_back(ends_.eos.front());
    return ids;
  }

  std::unique_ptr<DecodeState> start_decoding(bool skip_special) const override {
    return std::make_unique<State>(*this, skip_special);
  }

 private:
  void load(std::string_view bytes, const std::string& name) {
    try {
      const auto status = processor_.LoadFromSerializedProto({bytes.data(), bytes.size()});
      if (!status.ok()) fail("{}: SentencePiece cannot load it: {}", name, unicode::printable(status.ToString()));
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // its trie throws
      fail("{}: SentencePiece cannot load it: {}", name, unicode::printable(error.what()));
    }
  }

  class State : public DecodeState {
   public:
    State(const ModelTokenizer& owner, bool skip_special) : file_(owner.file_), skip_special_(skip_special) {}

    void push(Token id, std::string& out) override {
      const auto& piece = file_.pieces[static_cast<std::size_t>(id)];
      if (piece.type == PieceType::kByte) {
        const std::size_t before = out.size();
        run_.push(static_cast<unsigned char>(std::stoi(piece.text.substr(3, 2), nullptr, 16)), out);
        begun_ = begun_ || out.size() > before;
        pending_ = true;
        return;
      }
      finish(out);
      if (piece.type == PieceType::kControl || (skip_special_ && piece.type == PieceType::kUnknown)) return;
      if (piece.type == PieceType::kUnknown) return write(file_.unknown_surface, out);
      std::string_view text = piece.text;
      // The space that stands for the start of a text is not part of it.
      if (!begun_ && (file_.add_dummy_prefix || file_.remove_extra_whitespaces) && text.starts_with(kSpaceSymbol)) {
        text.remove_prefix(kSpaceSymbol.size());
        if (!file_.remove_extra_whitespaces) begun_ = true;
      }
      write(tokenizers::stages::replace_all(std::string(text), kSpaceSymbol, " "), out);
    }

    void finish(std::string& out) override {
      if (std::exchange(pending_, false)) {
        run_.finish(out);
        begun_ = true;
      }
    }

   private:
    void write(std::string_view text, std::string& out) {
      begun_ = begun_ || !text.empty();
      out += text;
    }

    const SentencePieceFile& file_;
    bool skip_special_;
    bool begun_ = false;    // something of the text has been written, or the start's space been dropped
    bool pending_ = false;  // a run of bytes is open
    ByteRun run_;
  };

  SentencePieceFile file_;
  sentencepiece::SentencePieceProcessor processor_;
  bool add_bos_;
  bool add_eos_;
  tokenizers::stages::ByteTrie specials_;
  EndTokens ends_;
};

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer_model(std::string_view bytes, const std::string& name,
                                                       const SpecialTokenSettings& settings) {
  return std::make_shared<const ModelTokenizer>(bytes, name, settings);
}

}  // namespace foretell::tokenizers
