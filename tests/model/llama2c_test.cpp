// Import of llama2.c's checkpoints.
#include <cmath>
#include <cstring>

#include "framework/formats/llama2c.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::bytes_of;
using testing::data_file;

std::string v0_header(std::vector<std::int32_t> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int32_t)};
}

float value_of(const ImportedTensor& tensor, int index) {
  float value;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof value, sizeof value);
  return value;
}

Tokens greedy_from_bos(const LanguageModel& model, int count) {
  const auto cache = model.make_cache(count + 1);
  Tokens tokens = {1};
  while (static_cast<int>(tokens.size()) <= count) {
    tokens.push_back(testing::best_token(testing::logits_of(model, std::span(&tokens.back(), 1), *cache)));
  }
  return tokens;
}

TEST_CASE("versions 0 and 1 of one llama2.c model are imported alike and give its known text") {
  const auto v0 = data_file("data/weights/stories260K/stories260K.bin");
  if (!v0) return;
  const auto v1 = data_file("data/weights/stories260K/stories260K_v1.bin");
  const auto tokenizer = data_file("data/weights/stories260K/tok512.bin");
  const testing::TemporaryFolder folder;
  import_llama2c(*v0, *tokenizer, folder.path() / "v0");
  import_llama2c(*v1, *tokenizer, folder.path() / "v1");
  CHECK(testing::read_file(folder.path() / "v0/model.safetensors") ==
        testing::read_file(folder.path() / "v1/model.safetensors"));
  CHECK(testing::read_file(folder.path() / "v0/tokenizer.bin") == testing::read_file(*tokenizer));

  const auto model = load_model(folder.path() / "v0");
  CHECK(model->config().context == 512);
  const std::string expected = testing::read_file(*data_file("data/weights/EXPECTED.json"));
  std::string ids;
  for (const Token id : greedy_from_bos(*model, 199)) ids += (ids.empty() ? "" : ", ") + std::to_string(id);
  std::string flat;
  for (const char c : expected) {
    if (c != '\n' && c != ' ') flat += c;
    if (c == ',') flat += ' ';
  }
  CHECK(flat.find(ids) != std::string::npos);
}

TEST_CASE("a llama2.c model with a classifier of its own is imported untied") {
  // dim 4, hidden 2, 1 layer, 1 head, 1 key head, vocabulary 3 (negative: untied), context 2
  std::string file = v0_header({4, 2, 1, 1, 1, -3, 2});
  const int values = 3 * 4 + 4 + 4 * 16 + 4 + 3 * 8 + 4 + 2 * 4 + 3 * 4;
  for (int i = 0; i < values; ++i) {
    const float value = static_cast<float>(i);
    file.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  const ImportedCheckpoint checkpoint = parse_llama2c(bytes_of(file), "toy.bin");
  CHECK_FALSE(checkpoint.config.tie_embeddings);
  CHECK(checkpoint.config.vocab_size == 3);
  CHECK(checkpoint.tensors.back().name == "lm_head.weight");
  CHECK(value_of(checkpoint.tensors.back(), 0) == static_cast<float>(values - 12));
  // wq starts after the embedding (12) and the attention norm (4); rows 0 1 2 3 become 0 2 1 3.
  const auto& query = checkpoint.tensors[2];
  CHECK(query.name == "model.layers.0.self_attn.q_proj.weight");
  CHECK(value_of(query, 0) == 16);
  CHECK(value_of(query, 4) == 16 + 8);
  CHECK(value_of(query, 8) == 16 + 4);

  CHECK_THROWS_WITH(parse_llama2c(bytes_of(file.substr(0, file.size() - 1)), "toy.bin"),
                    Contains("toy.bin: truncated") && Contains(std::to_string(file.size())) &&
                        Contains(std::to_string(file.size() - 1)));
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(file + "x"), "toy.bin"), Contains("too long"));
}

TEST_CASE("a llama2.c header that lies is refused") {
  CHECK_THROWS_WITH(parse_llama2c(bytes_of("ab"), "x.bin"), Contains("truncated: 2 bytes"));
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(v0_header({0, 2, 1, 1, 1, 3, 2})), "x.bin"), Contains("dim would be 0"));
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(v0_header({4, 2, 1, 3, 1, 3, 2})), "x.bin"), Contains("3 heads"));
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(v0_header({4, 2, 1, 1, 1, -2147483647 - 1, 2})), "x.bin"),
                    Contains("vocab_size"));
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(v0_header({1 << 24, 1 << 24, 4096, 1, 1, 1 << 24, 1 << 24})), "x.bin"),
                    Contains("truncated"));
  std::string v2 = v0_header({0x616b3432, 2});
  CHECK_THROWS_WITH(parse_llama2c(bytes_of(v2 + std::string(256, '\0')), "x.bin"), Contains("version 2"));
}

}  // namespace
}  // namespace foretell
