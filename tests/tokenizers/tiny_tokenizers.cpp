#include "tests/tokenizers/tiny_tokenizers.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "framework/tokenizers/models/token_model.h"
#include "framework/tokenizers/stages/byte_level.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using nlohmann::json;

const char* const kSpace = "\xE2\x96\x81";

json byte_level_file() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocab[byte_level::to_characters(std::string(1, static_cast<char>(byte)))] = byte;
  const std::string g = byte_level::to_characters(" ");
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"h", "e"},        {"l", "l"},
      {"he", "ll"},      {"hell", "o"},
      {g, "w"},          {"o", "r"},
      {g + "w", "or"},   {"l", "d"},
      {g + "wor", "ld"}, {"1", "2"},
      {"12", "3"},       {g, g},
      {"a", "b"},        {"b", "c"},
      {"ab", "c"},       {byte_level::to_characters("\xC3"), byte_level::to_characters("\xA9")}};
  json merges = json::array();
  for (const auto& [left, right] : pairs) {
    merges.push_back(left + " " + right);
    vocab[left + right] = 255 + merges.size();
  }
  return {{"version", "1.0"},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

std::vector<std::string> metaspace_pieces() {
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) pieces.push_back(byte_token(static_cast<unsigned char>(byte)));
  const std::string s = kSpace;
  for (const std::string& piece :
       {s, std::string("a"), std::string("b"), std::string("c"), std::string("d"), s + "a", s + "b", std::string("ab"),
        s + "ab", std::string("bc"), std::string("abc"), s + "abc", std::string("cd"), std::string("\xC3\xA9")})
    pieces.push_back(piece);
  return pieces;
}

json metaspace_file() {
  json vocab = json::object(), added = json::array();
  const auto pieces = metaspace_pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) vocab[pieces[i]] = i;
  for (int i = 0; i < 3; ++i) {
    added.push_back({{"id", i},
                     {"content", pieces[static_cast<std::size_t>(i)]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const std::string s = kSpace;
  const json merges = json::array({json::array({s, "a"}), json::array({s, "b"}), json::array({"a", "b"}),
                                   json::array({s, "ab"}), json::array({"b", "c"}), json::array({"ab", "c"}),
                                   json::array({s, "abc"}), json::array({"c", "d"})});
  const json decoders = json::array({{{"type", "Replace"}, {"pattern", {{"String", s}}}, {"content", " "}},
                                     {{"type", "ByteFallback"}},
                                     {{"type", "Fuse"}},
                                     {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}});
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", merges}}}};
}

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Protobuf: a field of bytes, and one of a number below 128.
std::string field(int number, std::string_view bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  std::size_t size = bytes.size();
  for (; size >= 128; size >>= 7) out.push_back(static_cast<char>(size | 128));
  out.push_back(static_cast<char>(size));
  return out.append(bytes);
}

std::string number_field(int number, int value) {
  std::string out;
  for (int tag = number << 3; tag > 0; tag >>= 7)
    out.push_back(static_cast<char>(tag >= 128 ? (tag & 127) | 128 : tag));
  return out + static_cast<char>(value);
}

std::string piece_field(std::string_view text, float score, int type) {
  std::string piece = field(1, text) + static_cast<char>(2 << 3 | 5);
  put(piece, score);
  return field(1, piece + number_field(3, type));
}

}  // namespace

std::string tiny_tokenizer_json(Base base, std::string_view parts) {
  json file = base == Base::kBytes ? byte_level_file() : metaspace_file();
  const json overrides = json::parse(parts);
  for (const auto& [key, value] : overrides.items()) {
    if (key == "model")
      file["model"].update(value);
    else
      file[key] = value;
  }
  return file.dump();
}

std::string tiny_tokenizer_bin(const std::vector<ScoredPiece>& pieces, std::int32_t longest) {
  std::string out;
  put(out, longest);
  for (const ScoredPiece& piece : pieces) {
    put(out, piece.score);
    put(out, static_cast<std::int32_t>(piece.text.size()));
    out += piece.text;
  }
  return out;
}

std::string tiny_tokenizer_bin() {
  std::vector<ScoredPiece> pieces = {{"<unk>", 0}, {"\n<s>\n", 0}, {"\n</s>\n", 0}};
  for (int byte = 0; byte < 256; ++byte) pieces.push_back({byte_token(static_cast<unsigned char>(byte)), 0});
  for (const char* letter : {" ", "a", "b", "c", "\xC3\xA9"}) pieces.push_back({letter, -100});
  for (const auto& [text, score] : std::vector<std::pair<std::string, float>>{
           {"ab", -1}, {"bc", -1}, {" a", -3}, {"abc", -4}, {" ab", -5}, {"aa", -6}})
    pieces.push_back({text, score});
  return tiny_tokenizer_bin(pieces, 3);
}

std::string tiny_tokenizer_model() {
  std::string out;
  const auto pieces = metaspace_pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const int type = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
    out += piece_field(pieces[i], i < 259 ? 0.0F : -static_cast<float>(i), type);
  }
  constexpr int bpe = 2;
  out += field(2, number_field(3, bpe) + number_field(35, 1));  // trainer: model type, byte fallback
  return out + field(3, field(1, "identity") + number_field(3, 1) +
                            number_field(4, 0));  // normalizer: dummy prefix, spaces kept
}

}  // namespace foretell::testing
