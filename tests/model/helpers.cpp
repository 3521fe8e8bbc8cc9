#include "tests/model/helpers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>

#include "framework/model/make_random.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

// Models of these tests are so small that a second thread only waits; on a busy machine it waits for long.
const bool kOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

}  // namespace

Tokens random_tokens(int count, int vocab, std::mt19937& random) {
  Tokens tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

at::Tensor to_tensor(const StoredTensor& stored) {
  REQUIRE((stored.type == StoredType::F32 || stored.type == StoredType::I32));
  at::Tensor tensor = at::empty(stored.shape, stored.type == StoredType::F32 ? at::kFloat : at::kInt);
  std::memcpy(tensor.mutable_data_ptr(), stored.bytes.data(), stored.bytes.size());
  return tensor;
}

std::vector<Tokens> to_rows(const StoredTensor& stored) {
  REQUIRE(stored.type == StoredType::I32);
  REQUIRE(stored.shape.size() == 2);
  std::vector<Tokens> rows(stored.shape[0], Tokens(stored.shape[1]));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::memcpy(rows[row].data(), stored.bytes.data() + row * stored.shape[1] * sizeof(Token),
                stored.shape[1] * sizeof(Token));
  }
  return rows;
}

float max_difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<float>();
}

at::Tensor logits_of(const LanguageModel& model, TokenSpan tokens, KvCache& cache) {
  return model.forward(ForwardItem{.input = tokens, .shape = ChainShape{}, .cache = &cache, .logits = LogitRows::All})
      .logits;
}

at::Tensor logits_of(const LanguageModel& model, TokenSpan tokens) {
  const auto cache = model.make_cache(static_cast<int>(tokens.size()));
  return logits_of(model, tokens, *cache);
}

Token best_token(const at::Tensor& row) { return static_cast<Token>(row.reshape({-1}).argmax().item<std::int64_t>()); }

std::filesystem::path make_model(const std::filesystem::path& folder, const std::string& config, std::uint64_t seed) {
  std::filesystem::create_directories(folder);
  const auto source = folder / "source.json";
  std::ofstream(source) << config;
  make_random(source, folder, seed);
  return folder;
}

namespace {

std::string updated(const char* config, const std::string& more) {
  nlohmann::json json = nlohmann::json::parse(config);
  json.update(nlohmann::json::parse("{" + more + "}"));
  return json.dump();
}

}  // namespace

std::string llama_config(const std::string& more) {
  return updated(
      R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 3,
      "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "dtype": "float32"})",
      more);
}

std::string bitllama_config(const std::string& more) {
  return updated(llama_config(R"("model_type": "bitllama", "tie_word_embeddings": true, "dtype": "float64")").c_str(),
                 more);
}

std::string gpt2_config(const std::string& more) {
  return updated(
      R"({"model_type": "gpt2", "vocab_size": 89, "n_embd": 40, "n_layer": 3, "n_head": 5, "n_positions": 128, "dtype": "float32"})",
      more);
}

namespace {

// What a family's small model has beside or instead of llama's.
std::string family_keys(const std::string& family) {
  if (family == "mistral") return R"("sliding_window": 7)";
  if (family == "qwen3") return R"("head_dim": 10)";
  if (family == "gpt_neox") return R"("rotary_pct": 0.5, "intermediate_size": 80)";
  if (family == "mixtral") return R"("num_local_experts": 5, "num_experts_per_tok": 2, "intermediate_size": 40)";
  if (family == "qwen2_moe")
    return R"("num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
        "mlp_only_layers": [1])";
  if (family == "qwen3_moe")
    return R"("head_dim": 10, "num_experts": 9, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "norm_topk_prob": true,
        "decoder_sparse_step": 2)";
  if (family == "olmoe") return R"("num_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 24)";
  if (family == "deepseek_v3")
    return R"("num_key_value_heads": 6, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 12,
        "n_routed_experts": 12, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2, "moe_intermediate_size": 20, "n_shared_experts": 2,
        "first_k_dense_replace": 1)";
  return "";
}

}  // namespace

std::string small_config(const std::string& family, const std::string& more) {
  if (family == "gpt2") return gpt2_config(more);
  const std::string keys = family_keys(family);
  return updated(updated(llama_config("\"model_type\": \"" + family + "\"").c_str(), keys).c_str(), more);
}

const std::vector<NamedConfig>& family_configs() {
  static const std::vector<NamedConfig> kConfigs = [] {
    std::vector<NamedConfig> configs;
    for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "mixtral", "qwen2_moe",
                               "qwen3_moe", "olmoe", "deepseek_v3"})
      configs.push_back({family, small_config(family)});
    configs.push_back(
        {"qwen3, two layers with a window",
         small_config("qwen3", R"("use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1)")});
    configs.push_back({"mixtral with a window", small_config("mixtral", R"("sliding_window": 6)")});
    return configs;
  }();
  return kConfigs;
}

}  // namespace foretell::testing
