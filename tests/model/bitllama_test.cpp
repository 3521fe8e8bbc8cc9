// Ternary models: their arithmetic, their import, and the known answers of two trained ones.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <cstring>
#include <nlohmann/json.hpp>

#include "framework/formats/bitllama.h"
#include "framework/kernels/ternary.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/reference_transformer.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::bitllama_config;
using testing::bytes_of;
using testing::data_file;
using testing::logits_of;
using testing::make_model;
using testing::max_difference;
using testing::random_tokens;

template <class T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string header(const std::vector<std::int32_t>& numbers, bool tied = true) {
  std::string file;
  append(file, std::uint32_t{0x616b3432});
  append(file, std::int32_t{1});
  for (const std::int32_t number : numbers) append(file, number);
  append(file, static_cast<std::uint8_t>(tied));
  file.resize(256);
  return file;
}

// dim 4, hidden 2, 1 layer, 1 head, 1 key head, vocabulary 3, context 2; every matrix of bytes `packed`, the i-th of
// scale i + 1.
std::string toy(int packed = 0b00'01'11'00) {
  std::string file = header({4, 2, 1, 1, 1, 3, 2});
  for (int i = 0; i < 4 + 12; ++i) append(file, static_cast<float>(i));
  const int matrix_bytes[] = {4, 4, 4, 4, 2, 2, 2};
  for (int i = 0; i < 7; ++i) {
    append(file, static_cast<float>(i + 1));
    file.append(static_cast<std::size_t>(matrix_bytes[i]), static_cast<char>(packed));
  }
  return file;
}

TEST_CASE("a ternary file is unpacked from the highest bits down, with its scales beside it") {
  const ImportedCheckpoint checkpoint = parse_bitllama(bytes_of(toy()), "toy.bin");
  CHECK(checkpoint.config.family == "bitllama");
  CHECK(checkpoint.config.tie_embeddings);
  CHECK(checkpoint.tensors.size() == 2 + 14);
  for (const ImportedTensor& tensor : checkpoint.tensors) {
    if (tensor.name == "model.layers.0.self_attn.v_proj.weight") {
      const std::vector<std::int64_t> shape = {4, 4};
      CHECK(tensor.shape == shape);
      const std::vector<std::byte> row = {std::byte{0}, std::byte{1}, static_cast<std::byte>(-1), std::byte{0}};
      CHECK(std::equal(row.begin(), row.end(), tensor.bytes.begin()));
    }
    if (tensor.name == "model.layers.0.mlp.up_proj.weight_scale") {
      float scale;
      std::memcpy(&scale, tensor.bytes.data(), sizeof scale);
      CHECK(scale == 7);
    }
  }
}

TEST_CASE("a ternary file that lies is refused") {
  const auto refused = [](const std::string& file, const std::string& part) {
    CHECK_THROWS_WITH(parse_bitllama(bytes_of(file), "x.bin"), Contains("x.bin") && Contains(part));
  };
  refused("ab", "truncated: 2 bytes");
  refused(toy().substr(0, toy().size() - 1), "truncated");
  refused(toy() + "x", "too long");
  refused(toy(0b10'00'00'00), "self_attn.q_proj of layer 0 holds the code 2");
  refused(toy().substr(8, 28) + std::string(300, '\0'), "does not start with the header");
  refused(header({4, 2, 1, 1, 1, 3, 2}, false), "classifier of its own");
  refused(header({6, 1, 1, 1, 1, 3, 2}), "do not fill whole bytes");
  refused(header({1 << 24, 1 << 24, 4096, 1, 1, 1 << 24, 1 << 24}), "truncated");
}

TEST_CASE("rows are rounded to 8 bits of their largest element, zeros stay zeros, and both ways agree") {
  const at::Tensor x = at::tensor({3.0f, -6.0f, 0.01f, 1.5f, 0.0f, 0.0f, 0.0f, 0.0f}).reshape({2, 4});
  const QuantisedRows rows = quantise_rows(x, at::kFloat);
  const at::Tensor expected = at::tensor({64.0f, -127.0f, 0.0f, 32.0f, 0.0f, 0.0f, 0.0f, 0.0f}).reshape({2, 4});
  CHECK(at::equal(rows.values, expected));
  const float norm = std::sqrt(9 + 36 + 0.0001f + 2.25f);
  CHECK(rows.scales[0].item<double>() == Approx(6 / (norm * 2) / 127));
  at::manual_seed(4);
  const at::Tensor wide = at::randn({5, 1001});
  CHECK(at::equal(quantise_rows(wide, at::kFloat).values, quantise_rows_aten(wide, at::kFloat).values));
  CHECK(max_difference(quantise_rows(wide, at::kFloat).scales, quantise_rows_aten(wide, at::kFloat).scales) < 1e-9f);
}

TEST_CASE("a ternary transformer agrees with the reference") {
  std::mt19937 random(21);
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), bitllama_config(), 22));
  const testing::ReferenceTransformer reference(folder.path());
  const Tokens tokens = random_tokens(19, 97, random);
  const auto rows = reference.logits(tokens);
  const at::Tensor logits = logits_of(*model, tokens);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t i = 0; i < rows[row].size(); ++i)
      REQUIRE(logits[row].const_data_ptr<float>()[i] == Approx(rows[row][i]).margin(2e-5));
  }
}

TEST_CASE("a ternary model's batched, drafted and finished rows are those that stand alone") {
  std::mt19937 random(23);
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), bitllama_config(), 24));
  const Tokens prompt = random_tokens(9, 97, random);
  const Tokens nodes = random_tokens(5, 97, random);
  const std::vector<NodeId> parents = {0, 0, 0, 1, 2};
  const auto one = model->make_cache(16), other = model->make_cache(16);
  logits_of(*model, prompt, *one);
  const std::vector<ForwardItem> items = {{TokenSpan(nodes), TreeShape{parents}, one.get(), LogitRows::All},
                                          {TokenSpan(prompt), ChainShape{}, other.get(), LogitRows::All}};
  const at::Tensor together = model->forward(items, {}).logits;
  CHECK(max_difference(together.slice(0, 5), logits_of(*model, prompt)) < 1e-5f);
  for (const std::vector<int>& path : {std::vector<int>{0, 1, 3}, {0, 2, 4}}) {
    Tokens straight = prompt;
    for (const int node : path) straight.push_back(nodes[node]);
    CHECK(max_difference(together[path.back()], logits_of(*model, straight)[-1]) < 1e-5f);
  }
  const auto cache = model->make_cache(16);
  ForwardOptions early, late;
  early.layers = LayerRange{0, 1};
  early.return_last_state = true;
  late.layers = LayerRange{1, 3};
  const ForwardResult first =
      model->forward(ForwardItem{TokenSpan(prompt), ChainShape{}, cache.get(), LogitRows::None}, early);
  const ForwardResult second =
      model->forward(ForwardItem{first.last_state, ChainShape{}, cache.get(), LogitRows::All}, late);
  CHECK(max_difference(second.logits, logits_of(*model, prompt)) < 1e-5f);
}

TEST_CASE("ternary matrices have to be stored as I8, others must not be") {
  const testing::TemporaryFolder folder;
  make_model(folder.path() / "ternary", bitllama_config(), 25);
  make_model(folder.path() / "plain", testing::llama_config(), 25);
  const std::string weights = testing::read_file(folder.path() / "ternary/model.safetensors");
  std::string wrong = weights;
  for (std::size_t at; (at = wrong.find("\"I8\"")) != std::string::npos;) wrong.replace(at, 4, "\"U8\"");
  folder.write("ternary/model.safetensors", wrong);
  CHECK_THROWS_WITH(load_model(folder.path() / "ternary"), Contains("is stored as U8; I8 can be read"));
}

TEST_CASE("two trained ternary models give their known tokens and logits") {
  const auto expected_file = data_file("data/weights/EXPECTED.json");
  if (!expected_file) return;
  const auto expected = nlohmann::json::parse(testing::read_file(*expected_file));
  const auto tokenizer = data_file("data/weights/stories260K/tok512.bin");
  for (const std::string name : {"bitllama_1M", "bitllama_3M"}) {
    INFO(name);
    const testing::TemporaryFolder folder;
    import_bitllama(*data_file("data/weights/bitllama/" + name + ".bin"), *tokenizer, folder.path());
    const auto model = load_model(folder.path());
    const auto& known = expected["bitllama/" + name + ".bin"];
    const auto ids = known["greedy_from_BOS_ids"].get<Tokens>();
    const at::Tensor logits = logits_of(*model, TokenSpan(ids).first(200));
    for (std::size_t i = 1; i < ids.size(); ++i) CHECK(testing::best_token(logits[i - 1]) == ids[i]);
    for (int i = 0; i < 16; ++i)
      CHECK(logits[3][i].item<float>() == Approx(known["logits_at_pos3_first16"][i].get<double>()).margin(2e-5));
    const auto cache = model->make_cache(200);
    Tokens alone = {ids[0]};
    while (alone.size() < ids.size())
      alone.push_back(testing::best_token(logits_of(*model, std::span(&alone.back(), 1), *cache)));
    CHECK(alone == ids);
  }
}

}  // namespace
}  // namespace foretell
