// Logits, states and greedy continuations of checkpoints that another implementation computed.
#include <string>

#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::best_token;
using testing::data_file;
using testing::max_difference;
using testing::to_rows;
using testing::to_tensor;

constexpr float kGoldenTolerance = 1e-4f;

// What comes after the prompt if the model reads it in the given pieces and then one token at a time.
Tokens greedy(const LanguageModel& model, TokenSpan prompt, int count, std::span<const int> pieces) {
  const auto cache = model.make_cache(static_cast<int>(prompt.size()) + count);
  at::Tensor logits;
  for (const int piece : pieces) {
    const std::size_t done = cache->length();
    const TokenSpan part = prompt.subspan(done, std::min<std::size_t>(piece, prompt.size() - done));
    if (part.empty()) break;
    logits =
        model
            .forward(ForwardItem{.input = part, .shape = ChainShape{}, .cache = cache.get(), .logits = LogitRows::Last})
            .logits;
  }
  REQUIRE(cache->length() == static_cast<int>(prompt.size()));
  Tokens out;
  for (int i = 0; i < count; ++i) {
    out.push_back(best_token(logits));
    logits = testing::logits_of(model, std::span(&out.back(), 1), *cache);
  }
  return out;
}

void check_golden(const std::string& name) {
  const auto config = data_file("golden/hf/" + name + "/config.json");
  if (!config) return;
  const auto model = load_model(config->parent_path(), {.dtype = at::kFloat, .device = at::kCPU});
  const auto golden = SafetensorsFile::open(config->parent_path() / "golden.safetensors");
  const auto ids = to_rows(golden.at("input_ids"));
  const at::Tensor logits = to_tensor(golden.at("logits"));
  const at::Tensor hidden = to_tensor(golden.at("hidden_states_1"));
  for (std::size_t row = 0; row < ids.size(); ++row) {
    const auto cache = model->make_cache(64);
    ForwardOptions options;
    options.aux_states = {1};
    const ForwardResult result =
        model->forward(ForwardItem{.input = TokenSpan(ids[row]), .shape = ChainShape{}, .cache = cache.get()}, options);
    CHECK(max_difference(result.logits, logits[static_cast<std::int64_t>(row)]) < kGoldenTolerance);
    CHECK(max_difference(result.aux_states[0], hidden[static_cast<std::int64_t>(row)]) < kGoldenTolerance);
  }
  const Tokens expected = to_rows(golden.at("greedy"))[0];
  const int count = static_cast<int>(expected.size());
  CHECK(greedy(*model, ids[0], count, std::vector<int>(ids[0].size(), 1)) == expected);
  CHECK(greedy(*model, ids[0], count, std::vector{5, 1, 17, 2, 64}) == expected);
  CHECK(greedy(*model, ids[0], count, std::vector{64}) == expected);
}

TEST_CASE("a llama checkpoint gives the expected logits", "[golden]") { check_golden("llama"); }
TEST_CASE("a llama checkpoint with llama3 rope scaling gives the expected logits", "[golden]") {
  check_golden("llama3-rope");
}
TEST_CASE("a qwen2 checkpoint gives the expected logits", "[golden]") { check_golden("qwen2"); }
TEST_CASE("a gpt2 checkpoint gives the expected logits", "[golden]") { check_golden("gpt2"); }
TEST_CASE("a mistral checkpoint with a sliding window gives the expected logits", "[golden]") {
  check_golden("mistral");
}
TEST_CASE("a qwen3 checkpoint gives the expected logits", "[golden]") { check_golden("qwen3"); }
TEST_CASE("a mixtral checkpoint gives the expected logits", "[golden]") { check_golden("mixtral"); }
TEST_CASE("a qwen2_moe checkpoint gives the expected logits", "[golden]") { check_golden("qwen2_moe"); }

}  // namespace
}  // namespace foretell
