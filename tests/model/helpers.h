// What the tests of models share.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "framework/formats/safetensors.h"
#include "framework/model/load_model.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

Tokens random_tokens(int count, int vocab, std::mt19937& random);

// float32 tensor of a stored one (F32 or I32).
at::Tensor to_tensor(const StoredTensor& stored);
std::vector<Tokens> to_rows(const StoredTensor& stored);  // I32 [rows, columns]

float max_difference(const at::Tensor& a, const at::Tensor& b);

// Logits of all rows after the cache: [rows, vocab].
at::Tensor logits_of(const LanguageModel& model, TokenSpan tokens, KvCache& cache);
at::Tensor logits_of(const LanguageModel& model, TokenSpan tokens);  // with a cache of its own

// The bytes of a file that a test has written out as text.
inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Token best_token(const at::Tensor& row);

// Writes `config` (the text of a config.json) and random weights for it into the folder and returns it.
std::filesystem::path make_model(const std::filesystem::path& folder, const std::string& config, std::uint64_t seed);

// The config.json of a small model; `more` are further keys, or other values of its own ("\"head_dim\": 10, ...").
std::string llama_config(const std::string& more = "");
std::string gpt2_config(const std::string& more = "");
// Three layers and 97 tokens, for every family that can be loaded but bitllama: its keys, with `more` on top.
std::string small_config(const std::string& family, const std::string& more = "");
// One or two of each family, windows short and layers of both kinds where there are any.
struct NamedConfig {
  std::string name, config;
};
const std::vector<NamedConfig>& family_configs();
std::string bitllama_config(const std::string& more = "");

}  // namespace foretell::testing
