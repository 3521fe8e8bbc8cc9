#include "framework/tokenizers/models/token_model.h"

#include <nlohmann/json.hpp>

#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::models {
namespace {

// Files of before 2020 do not say which kind they hold.
std::string guess_type(const io::JsonView& json) {
  if (json.find("merges")) return "BPE";
  if (json.find("unk_id")) return "Unigram";
  if (json.find("max_input_chars_per_word")) return "WordPiece";
  return "WordLevel";
}

}  // namespace

void TokenModel::read_vocab_object(const io::JsonView& json) {
  if (!json.raw().is_object()) json.expected("an object");
  const Location where{fmt::format("{}: {}", json.where().to_string(), json.path()), std::nullopt};
  for (const auto& [text, id] : json.raw().items()) {
    if (!id.is_number_integer()) fail_at(where, "the id of \"{}\" is not an integer", unicode::printable(text));
    const bool huge =
        id.is_number_unsigned() && id.get<std::uint64_t>() >= static_cast<std::uint64_t>(tokenizers::stages::kMaxVocab);
    vocab_.add(text, huge ? tokenizers::stages::kMaxVocab : id.get<std::int64_t>(), where);
  }
}

std::unique_ptr<const TokenModel> make_token_model(const io::JsonView& json) {
  const std::string type = json.string_or("type", guess_type(json));
  if (type == "BPE") return make_bpe(json);
  if (type == "Unigram") return make_unigram(json);
  if (type == "WordLevel") return make_word_level(json);
  if (type == "WordPiece") return make_word_piece(json);
  json.refuse(fmt::format("model '{}' is not supported; supported: BPE, Unigram, WordLevel, WordPiece",
                          unicode::printable(type)));
}

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace foretell::tokenizers::models
