// The readers of the three tokenizer formats. They take bytes, so that tests and fuzzers need no files; `name` is what
// errors call the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/tokenizers/tokenizer.h"

namespace foretell::tokenizers {

// What the files beside a tokenizer say about its special tokens.
struct SpecialTokenSettings {
  std::optional<std::string> bos;  // tokenizer_config.json, else special_tokens_map.json
  std::optional<std::string> eos;
  std::optional<Token> bos_id;  // generation_config.json
  std::vector<Token> eos_ids;
  std::optional<bool>
      add_bos;  // tokenizer_config.json; used for tokenizer.model and .bin, which say nothing themselves
  std::optional<bool> add_eos;
};

// What one of these files adds; what an earlier one has said stays.
void read_tokenizer_config(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings);
void read_special_tokens_map(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings);
void read_generation_config(std::string_view bytes, const std::string& name, SpecialTokenSettings& settings);
SpecialTokenSettings read_special_token_settings(const std::filesystem::path& folder);

std::shared_ptr<const Tokenizer> parse_tokenizer_json(std::string_view bytes, const std::string& name,
                                                      const SpecialTokenSettings& settings = {});
std::shared_ptr<const Tokenizer> parse_tokenizer_model(std::string_view bytes, const std::string& name,
                                                       const SpecialTokenSettings& settings = {});
std::shared_ptr<const Tokenizer> parse_tokenizer_bin(std::string_view bytes, const std::string& name,
                                                     const SpecialTokenSettings& settings = {});

// BOS and EOS of a tokenizer: what the settings name, else the file's own.
struct EndTokens {
  std::optional<Token> bos;
  std::vector<Token> eos;
};
EndTokens find_end_tokens(const Tokenizer& tokenizer, const SpecialTokenSettings& settings, EndTokens own,
                          const std::string& name);

}  // namespace foretell::tokenizers
