#include "tests/training/helpers.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <nlohmann/json.hpp>

#include "framework/tokenizers/stages/byte_level.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

std::string updated(const char* config, const std::string& more) {
  nlohmann::json json = nlohmann::json::parse(config);
  json.update(nlohmann::json::parse("{" + more + "}"));
  return json.dump();
}

}  // namespace

std::string small_llama(const std::string& more) {
  return updated(
      R"({"model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "dtype": "float32"})",
      more);
}

std::string small_qwen2(const std::string& more) {
  return updated(
      R"({"model_type": "qwen2", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "dtype": "float32"})",
      more);
}

std::string small_gpt2(const std::string& more) {
  return updated(
      R"({"model_type": "gpt2", "vocab_size": 61, "n_embd": 30, "n_layer": 2, "n_head": 5, "n_positions": 64, "dtype": "float32"})",
      more);
}

std::string small_mixtral(const std::string& more) {
  return updated(
      R"({"model_type": "mixtral", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
      "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": null, "dtype": "float32"})",
      more);
}

std::shared_ptr<TrainableTransformer> small_model(const std::string& config, std::uint64_t seed) {
  auto model = std::make_shared<TrainableTransformer>(parse_model_config(config, "config.json"), at::kCPU);
  model->initialise(seed);
  for (const NamedWeight& weight : model->named_weights()) {
    const at::Tensor jumble = at::arange(weight.value.numel(), at::kFloat).mul(0.7).sin().view(weight.value.sizes());
    const bool vector = weight.spec.kind == WeightKind::Gain || weight.spec.kind == WeightKind::Bias;
    vector ? weight.value.add_(jumble, 0.1) : weight.value.mul_(4);
  }
  return model;
}

Sample sample_of(Tokens tokens, float weight) {
  std::vector<float> weights(tokens.size(), weight);
  weights[0] = 0;
  return {"", std::move(tokens), std::move(weights)};
}

Tokens counted_tokens(int count, int vocab, int start) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((start * 31 + i * i * 7 + i) % vocab);
  return tokens;
}

std::string byte_tokenizer_json() {
  using nlohmann::json;
  json vocab = json::object(), added = json::array();
  for (int byte = 0; byte < 256; ++byte)
    vocab[byte_level::to_characters(std::string(1, static_cast<char>(byte)))] = byte;
  int id = 256;
  for (const char* marker : {"<|im_start|>", "<|im_end|>", "<|endoftext|>"})
    added.push_back({{"id", id++},
                     {"content", marker},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const json file = {{"version", "1.0"},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"post_processor", nullptr},
                     {"decoder", {{"type", "ByteLevel"}}},
                     {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
  return file.dump();
}

std::shared_ptr<const Tokenizer> byte_tokenizer() {
  SpecialTokenSettings settings;
  settings.eos = "<|endoftext|>";
  return parse_tokenizer_json(byte_tokenizer_json(), "tokenizer.json", settings);
}

Sample CountingSource::sample(std::uint64_t index) const {
  Tokens tokens;
  const int length = length_ - static_cast<int>(index % 3);
  for (int i = 0; i < length; ++i)
    tokens.push_back(
        static_cast<Token>((index * 5 + static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(vocab_)));
  return sample_of(std::move(tokens));
}

}  // namespace foretell::testing
