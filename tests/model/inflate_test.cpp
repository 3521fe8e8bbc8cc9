// A small model padded to larger shapes computes what it computed before.
#include <ATen/ops/equal.h>

#include "framework/formats/inflate.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::llama_config;
using testing::logits_of;
using testing::make_model;
using testing::max_difference;
using testing::random_tokens;

// The bundled target's grouping: four query heads share one key head.
std::string small_llama(const std::string& more = "") {
  return llama_config(
      R"("hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "num_hidden_layers": 4,
      "tie_word_embeddings": true, "rope_theta": 5000.0)" +
      (more.empty() ? "" : ", " + more));
}

// As SmolLM-135M's shape: nine query heads over three key heads, so that a group of four has to be split.
std::string large_llama(const std::string& more = "") {
  return llama_config(
      R"("hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 8, "num_hidden_layers": 11,
      "intermediate_size": 200, "vocab_size": 311, "tie_word_embeddings": true, "max_position_embeddings": 4096)" +
      (more.empty() ? "" : ", " + more));
}

struct Pair {
  std::shared_ptr<const LanguageModel> small, large;
};

Pair inflated_pair(const testing::TemporaryFolder& folder, const std::string& small, const std::string& like) {
  make_model(folder.path() / "small", small, 31);
  const auto shape = folder.write("shape.json", like);
  inflate({folder.path() / "small", shape, folder.path() / "large"});
  return {load_model(folder.path() / "small"), load_model(folder.path() / "large")};
}

TEST_CASE("an inflated model has the small one's logits, and no ids beside its own") {
  std::mt19937 random(32);
  const std::pair<std::string, std::string> cases[] = {
      {small_llama(), large_llama()},
      {small_llama(),
       large_llama(R"("num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": false)")},
      {small_llama(), small_llama()},
      {small_llama(
           R"("tie_word_embeddings": false, "attention_bias": true, "mlp_bias": true, "num_key_value_heads": 2)"),
       large_llama(R"("tie_word_embeddings": false)")},
      {small_llama(R"("model_type": "qwen2")"), large_llama()},
  };
  for (const auto& [small, like] : cases) {
    INFO(small << " like " << like);
    const testing::TemporaryFolder folder;
    const Pair models = inflated_pair(folder, small, like);
    const Tokens tokens = random_tokens(40, 97, random);
    const at::Tensor expected = logits_of(*models.small, tokens), logits = logits_of(*models.large, tokens);
    CHECK(max_difference(logits, expected) < 1e-4f);
    CHECK(at::equal(logits.argmax(1), expected.argmax(1)));
    CHECK(models.large->config().vocab_size == 97);
    CHECK(models.large->config().inflated_from->starts_with("small (4 layers, width 32, 4 heads over "));
    CHECK_THROWS_WITH(logits_of(*models.large, Tokens{97}), Contains("token id 97 is outside"));
    CHECK(models.large->config().context == 256);
  }
}

TEST_CASE("old layers are spread evenly: an exit between two of them gives the small model's exit there") {
  std::mt19937 random(33);
  const testing::TemporaryFolder folder;
  const Pair models = inflated_pair(folder, small_llama(), large_llama(R"("num_hidden_layers": 8)"));
  const Tokens tokens = random_tokens(12, 97, random);
  const auto exit_after = [&](const LanguageModel& model, int layers) {
    const auto cache = model.make_cache(12);
    ForwardOptions options;
    options.layers = LayerRange{0, layers};
    return model.forward(ForwardItem{TokenSpan(tokens), ChainShape{}, cache.get(), LogitRows::All}, options).logits;
  };
  for (int layers = 1; layers <= 4; ++layers)
    CHECK(max_difference(exit_after(*models.large, 2 * layers), exit_after(*models.small, layers)) < 1e-4f);
}

TEST_CASE("a split group of query heads finds a copy of its key head") {
  ModelConfig small, large;
  small.num_heads = 4, small.num_kv_heads = 1;
  large.num_heads = 9, large.num_kv_heads = 3;
  const HeadPlaces places = place_heads(small, large, "small", "shape.json");
  CHECK((places.query == std::vector<int>{0, 1, 2, 3}));
  CHECK((places.key_source == std::vector<std::optional<int>>{0, 0, std::nullopt}));
  small.num_heads = 8, small.num_kv_heads = 2;
  CHECK_THROWS_WITH(place_heads(small, large, "small", "shape.json"),
                    Contains("no place for the 2 key heads with 4 query heads each of small"));
  large.num_heads = 32, large.num_kv_heads = 8;
  CHECK((place_heads(small, large, "small", "shape.json").query == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_CASE("shapes that a model cannot have are refused with the reason") {
  const testing::TemporaryFolder folder;
  make_model(folder.path() / "small", small_llama(), 34);
  const auto refused = [&](const std::string& like, const std::string& reason) {
    const auto shape = folder.write("shape.json", like);
    CHECK_THROWS_WITH(inflate({folder.path() / "small", shape, folder.path() / "large"}),
                      Contains("shape.json") && Contains(reason));
  };
  refused(large_llama(R"("hidden_size": 16)"), "'hidden_size' is 16, smaller than the 32 of small");
  refused(large_llama(R"("num_hidden_layers": 3)"), "'num_hidden_layers' is 3");
  refused(large_llama(R"("vocab_size": 96)"), "'vocab_size' is 96");
  refused(large_llama(R"("head_dim": 16)"), "'head_dim' is 16, that of small is 8");
  refused(testing::gpt2_config(), "a gpt2 model cannot be inflated");
  refused(testing::bitllama_config(), "a bitllama model cannot be inflated");
  refused(testing::small_config("qwen3"), "its queries and keys have norms of their own");
  refused(testing::small_config("phi3"), "its projections are fused");
  refused(testing::small_config("mixtral"), "it is a mixture of experts");
  make_model(folder.path() / "small", small_llama(R"("tie_word_embeddings": false)"), 34);
  refused(large_llama(), "'tie_word_embeddings' is true");
  CHECK_THROWS_WITH(inflate({folder.path() / "small", folder.write("s.json", small_llama()), folder.path() / "small"}),
                    Contains("over the small one"));
}

TEST_CASE("config.json keeps the padded vocabulary and where a model came from") {
  const std::string text = llama_config(R"("vocab_valid": 90, "inflated_from": "x", "eos_token_id": [2, 95])");
  const ModelConfig config = parse_model_config(text, "config.json");
  CHECK(config.vocab_size == 90);
  CHECK(config.vocab_rows() == 97);
  CHECK(config.eos == std::vector<Token>{2});
  CHECK(parse_model_config(model_config_json(config), "config.json") == config);
  CHECK_FALSE(parse_model_config(llama_config(R"("vocab_valid": 97)"), "config.json").padded_vocab);
  CHECK_THROWS_WITH(parse_model_config(llama_config(R"("vocab_valid": 98)"), "config.json"),
                    Contains("'vocab_valid' is 98"));
}

}  // namespace
}  // namespace foretell
