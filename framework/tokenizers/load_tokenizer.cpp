#include "framework/tokenizers/tokenizer.h"

#include <array>

#include "framework/core/error.h"
#include "framework/io/file_bytes.h"
#include "framework/tokenizers/tokenizer_files.h"

namespace foretell::tokenizers {
namespace {

constexpr std::array<const char*, 3> kFileNames = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};

std::shared_ptr<const Tokenizer> load_file(const std::filesystem::path& file) {
  const std::string kind = file.extension().string(), name = file.string();
  if (kind != ".json" && kind != ".model" && kind != ".bin")
    fail("{}: not known as a tokenizer; expected a file .json, .model or .bin, or a folder", name);
  const std::string bytes = io::read_file_bytes(file);
  const SpecialTokenSettings settings = read_special_token_settings(file.parent_path());
  if (kind == ".json") return parse_tokenizer_json(bytes, name, settings);
  return kind == ".model" ? parse_tokenizer_model(bytes, name, settings) : parse_tokenizer_bin(bytes, name, settings);
}

bool names_an_id(const Tokenizer& tokenizer, Token id) { return id >= 0 && id < tokenizer.vocab_size(); }

}  // namespace

std::string Tokenizer::decode(TokenSpan ids, bool skip_special) const {
  std::string text;
  const auto state = start_decoding(skip_special);
  for (const Token id : ids) {
    if (!names_an_id(*this, id)) fail("token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    state->push(id, text);
  }
  state->finish(text);
  return text;
}

std::shared_ptr<const Tokenizer> try_load_tokenizer(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const char* name : kFileNames)
    if (std::filesystem::exists(folder / name, ignored)) return load_file(folder / name);
  return nullptr;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) fail("{}: no such file or folder; expected a tokenizer", path.string());
  if (!std::filesystem::is_directory(path, ignored)) return load_file(path);
  auto tokenizer = try_load_tokenizer(path);
  if (!tokenizer)
    fail("{}: the folder has no tokenizer; looked for {}, {} and {}", path.string(), kFileNames[0], kFileNames[1],
         kFileNames[2]);
  return tokenizer;
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), state_(tokenizer_->start_decoding(skip_special)) {}

void StreamDecoder::prime(TokenSpan context) {
  for (const Token id : context) push(id);
}

std::string StreamDecoder::push(Token id) {
  std::string text;
  if (names_an_id(*tokenizer_, id)) state_->push(id, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  state_->finish(text);
  return text;
}

std::string decode_continuation(const std::shared_ptr<const Tokenizer>& tokenizer, TokenSpan context, TokenSpan ids,
                                bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  decoder.prime(context);
  std::string text;
  for (const Token id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

}  // namespace foretell::tokenizers
