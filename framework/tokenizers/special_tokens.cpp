#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"
#include "framework/tokenizers/stages/vocab.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

// "eos_token": "</s>" or {"content": "</s>", ...}.
void read_token(const io::JsonView& json, std::string_view key, std::optional<std::string>& out) {
  const auto value = json.find(key);
  if (!value || out) return;
  const std::string& text = value->raw().is_object() ? value->at("content").string() : value->string();
  if (!text.empty()) out = text;
}

// Unused ids are written as null, as a negative number or not at all.
void append_id(const io::JsonView& json, std::vector<Token>& out) {
  if (json.integer() >= 0) out.push_back(tokenizers::stages::checked_id(json.integer(), json.where(), json.path()));
}

template <class Read>
void with_document(std::string_view bytes, const std::string& name, const Read& read) {
  const Location where{name, std::nullopt};
  const nlohmann::json document = io::parse_json(bytes, where);
  read(io::JsonView(document, "", where));
}

void read_end_ids(const io::JsonView& json, SpecialTokenSettings& settings) {
  if (const auto bos = json.find("bos_token_id")) {
    std::vector<Token> ids;
    append_id(*bos, ids);
    if (!ids.empty()) settings.bos_id = ids.front();
  }
  const auto eos = json.find("eos_token_id");
  if (!eos) return;
  if (eos->raw().is_array()) {
    for (std::size_t i = 0; i < eos->size(); ++i) append_id(eos->at(i), settings.eos_ids);
  } else {
    append_id(*eos, settings.eos_ids);
  }
}

}  // namespace

void read_tokenizer_config(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings) {
  with_document(bytes, name, [&](const io::JsonView& json) {
    read_token(json, "bos_token", settings.bos);
    read_token(json, "eos_token", settings.eos);
    if (const auto add = json.find("add_bos_token")) settings.add_bos = add->boolean();
    if (const auto add = json.find("add_eos_token")) settings.add_eos = add->boolean();
  });
}

void read_special_tokens_map(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings) {
  with_document(bytes, name, [&](const io::JsonView& json) {
    read_token(json, "bos_token", settings.bos);
    read_token(json, "eos_token", settings.eos);
  });
}

void read_generation_config(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings) {
  with_document(bytes, name, [&](const io::JsonView& json) { read_end_ids(json, settings); });
}

SpecialTokenSettings read_special_token_settings(const std::filesystem::path& folder) {
  SpecialTokenSettings settings;
  using Read = void (*)(std::string_view, const std::string&, SpecialTokenSettings&);
  const std::array<std::pair<const char*, Read>, 3> files = {{{"tokenizer_config.json", read_tokenizer_config},
                                                              {"special_tokens_map.json", read_special_tokens_map},
                                                              {"generation_config.json", read_generation_config}}};
  for (const auto& [name, read] : files) {
    const std::filesystem::path file = folder / name;
    std::error_code ignored;
    if (std::filesystem::exists(file, ignored)) read(io::read_file_bytes(file), file.string(), settings);
  }
  return settings;
}

EndTokens find_end_tokens(const Tokenizer& tokenizer, const SpecialTokenSettings& settings, EndTokens own,
                          const std::string& name) {
  const auto need = [&](const std::string& text, std::string_view key) {
    const auto id = tokenizer.token_to_id(text);
    if (!id)
      fail("{}: has no token \"{}\", which the configuration beside it names as {}", name, unicode::printable(text),
           key);
    return *id;
  };
  EndTokens ends;
  ends.bos = settings.bos ? std::optional(need(*settings.bos, "bos_token")) : own.bos ? own.bos : settings.bos_id;
  if (settings.eos) ends.eos.push_back(need(*settings.eos, "eos_token"));
  for (const Token id : settings.eos_ids)
    if (std::find(ends.eos.begin(), ends.eos.end(), id) == ends.eos.end()) ends.eos.push_back(id);
  if (ends.eos.empty()) ends.eos = std::move(own.eos);
  return ends;
}

}  // namespace foretell::tokenizers
