#include "framework/tokenizers/sentencepiece_file.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/tokenizers/stages/vocab.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

constexpr std::size_t kMaxPiece = 4096;

// A field of a protobuf message: a number, or bytes for what has a length.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes;
};

class WireMessage {
 public:
  WireMessage(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::optional<Field> next() {
    if (position_ == bytes_.size()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field{.number = tag >> 3, .value = 0, .bytes = {}};
    switch (tag & 7) {
      case 0: field.value = varint(); break;
      case 1: field.bytes = take(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.bytes = take(4); break;
      default: refuse();
    }
    if (field.number == 0) refuse();
    return field;
  }

 private:
  [[noreturn]] void refuse() const {
    fail("{}: not a SentencePiece model: no protobuf message at byte {} of a part", name_, position_);
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    refuse();
  }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - position_) refuse();
    position_ += static_cast<std::size_t>(count);
    return bytes_.substr(position_ - static_cast<std::size_t>(count), static_cast<std::size_t>(count));
  }

  std::string_view bytes_;
  const std::string& name_;
  std::size_t position_ = 0;
};

SentencePieceFile::Piece read_piece(std::string_view bytes, const std::string& name, std::size_t id) {
  SentencePieceFile::Piece piece;
  WireMessage message(bytes, name);
  while (const auto field = message.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 2 && field->bytes.size() == 4) {
      float score;
      std::memcpy(&score, field->bytes.data(), 4);
      if (!std::isfinite(score)) fail("{}: the score of piece {} is not finite", name, id);
    }
    if (field->number == 3) {
      if (field->value < 1 || field->value > 6)
        fail("{}: piece {} has type {}; expected 1 to 6", name, id, field->value);
      piece.type = static_cast<PieceType>(field->value);
    }
  }
  if (piece.text.empty() || piece.text.size() > kMaxPiece)
    fail("{}: piece {} has {}; expected 1 to {}", name, id, counted(piece.text.size(), "byte"), kMaxPiece);
  if (piece.text.find('\0') != std::string::npos) fail("{}: piece {} holds a zero byte", name, id);
  if (!unicode::is_valid(piece.text)) fail("{}: piece {} is not UTF-8", name, id);
  return piece;
}

std::uint32_t word_at(std::string_view bytes, std::size_t index) {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + index * 4, 4);
  return value;
}

// The normalizer's table: uint32 size, a double array of that many bytes, then the replacements as C strings. A cell's
// target block must lie inside the array, whatever byte is looked up from it, and a value must point into the
// replacements.
void check_character_map(std::string_view map, const std::string& name) {
  if (map.empty()) return;
  const auto refuse = [&](std::string_view why) { fail("{}: its character map is damaged: {}", name, why); };
  if (map.size() <= 4) refuse("it is too short");
  const std::size_t trie_bytes = word_at(map, 0);
  if (trie_bytes == 0 || trie_bytes % 1024 != 0 || trie_bytes >= map.size() - 4)
    refuse("its table's size is not possible");
  const std::string_view cells = map.substr(4, trie_bytes), replacements = map.substr(4 + trie_bytes);
  if (replacements.back() != '\0') refuse("its replacements do not end");
  const std::size_t count = trie_bytes / 4;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t cell = word_at(cells, i);
    if ((cell >> 31) != 0) {
      if ((cell & 0x7FFFFFFF) >= replacements.size()) refuse("a value points behind its replacements");
      continue;
    }
    const std::size_t target = i ^ (static_cast<std::size_t>(cell >> 10) << ((cell & (1U << 9)) >> 6));
    if ((target | 0xFF) >= count) refuse("a cell points behind the table");
    if ((cell >> 8 & 1) != 0 && (word_at(cells, target) & 0x7FFFFFFF) >= replacements.size())
      refuse("a value points behind its replacements");
  }
  if (!unicode::is_valid(replacements)) refuse("its replacements are not UTF-8");
}

void read_normalizer(std::string_view bytes, SentencePieceFile& file, const std::string& name) {
  WireMessage message(bytes, name);
  while (const auto field = message.next()) {
    if (field->number == 2) check_character_map(field->bytes, name);
    if (field->number == 3) file.add_dummy_prefix = field->value != 0;
    if (field->number == 4) file.remove_extra_whitespaces = field->value != 0;
  }
}

void read_trainer(std::string_view bytes, SentencePieceFile& file, const std::string& name) {
  WireMessage message(bytes, name);
  while (const auto field = message.next()) {
    if (field->number == 24 && field->value != 0) fail("{}: white space as a suffix is not supported", name);
    if (field->number == 44) file.unknown_surface = field->bytes;
  }
}

}  // namespace

SentencePieceFile scan_sentencepiece(std::string_view bytes, const std::string& name) {
  SentencePieceFile file;
  WireMessage message(bytes, name);
  int normalizers = 0, trainers = 0;
  while (const auto field = message.next()) {
    if (field->number == 1) {
      file.pieces.push_back(read_piece(field->bytes, name, file.pieces.size()));
      if (file.pieces.size() > static_cast<std::size_t>(tokenizers::stages::kMaxVocab))
        fail("{}: more than {} pieces", name, tokenizers::stages::kMaxVocab);
    } else if (field->number == 2) {
      read_trainer(field->bytes, file, name);
      ++trainers;
    } else if (field->number == 3) {
      read_normalizer(field->bytes, file, name);
      ++normalizers;
    } else if (field->number == 5) {
      SentencePieceFile ignored;
      read_normalizer(field->bytes, ignored, name);
      WireMessage denormalizer(field->bytes, name);
      while (const auto part = denormalizer.next())
        if (part->number == 2 && !part->bytes.empty()) fail("{}: a denormalizer is not supported", name);
    }
  }
  if (file.pieces.empty()) fail("{}: not a SentencePiece model: it has no pieces", name);
  if (normalizers > 1 || trainers > 1)
    fail("{}: has {} trainer and {}; expected one each", name, trainers, counted(normalizers, "normalizer part"));
  return file;
}

}  // namespace foretell::tokenizers
