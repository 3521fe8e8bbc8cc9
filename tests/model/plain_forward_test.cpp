// The forward pass in one parallel region: what the layers compute one operator after the other, to the bit.
#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "framework/model/load_model.h"
#include "framework/model/plain_forward.h"
#include "framework/model/transformer_cache.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::llama_config;
using testing::make_model;
using testing::random_tokens;

constexpr int kCapacity = 160;

// One item of a batch, and what is in its cache before.
struct RandomItem {
  Tokens before, tokens;
  std::vector<NodeId> parents;  // of a tree with a root; empty: a chain
  int cached_rows = 0;          // of the tree
  LogitRows logits = LogitRows::All;
};

RandomItem random_item(int vocab, int most_rows, std::mt19937& random) {
  RandomItem item;
  const int rows = 1 + static_cast<int>(random() % static_cast<unsigned>(most_rows));
  item.before = random_tokens(static_cast<int>(random() % 80), vocab, random);
  item.tokens = random_tokens(rows, vocab, random);
  item.logits = std::vector{LogitRows::All, LogitRows::All, LogitRows::Last, LogitRows::None}[random() % 4];
  if (random() % 2 == 0) return item;
  item.parents.push_back(0);
  for (int row = 1; row < rows; ++row)
    item.parents.push_back(static_cast<NodeId>(random() % static_cast<unsigned>(row)));
  item.cached_rows = static_cast<int>(random() % static_cast<unsigned>(rows));
  return item;
}

struct Outcome {
  std::vector<at::Tensor> logits;
  std::vector<std::unique_ptr<KvCache>> caches;
};

ForwardItem part_of(const RandomItem& item, int first, int last, KvCache& cache) {
  const auto from = static_cast<std::size_t>(first);
  ForwardItem out{TokenSpan(item.tokens).subspan(from, static_cast<std::size_t>(last) - from)};
  if (!item.parents.empty())
    out.shape = TreeShape{std::span(item.parents).first(static_cast<std::size_t>(last)), first};
  out.cache = &cache;
  out.logits = item.logits;
  return out;
}

Outcome forward_all(const LanguageModel& model, const std::vector<RandomItem>& items, int threads) {
  assume_plain_forward(threads);
  Outcome out;
  std::vector<ForwardItem> batch;
  for (const RandomItem& item : items) {
    KvCache& cache = *out.caches.emplace_back(model.make_cache(kCapacity));
    if (!item.before.empty()) out.logits.push_back(testing::logits_of(model, item.before, cache));
    if (item.cached_rows > 0) out.logits.push_back(model.forward(part_of(item, 0, item.cached_rows, cache)).logits);
    batch.push_back(part_of(item, item.cached_rows, static_cast<int>(item.tokens.size()), cache));
  }
  const ForwardResult result = model.forward(batch, {});
  out.logits.push_back(result.logits);
  CHECK(result.own_rules);
  CHECK(std::ranges::all_of(result.left, [&](int layers) { return layers == model.config().num_layers; }));
  CHECK(result.left == result.reached);
  assume_plain_forward(std::nullopt);
  return out;
}

void check_same(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.defined() == b.defined());
  if (a.defined()) CHECK(at::equal(a, b));
}

void check_same(const Outcome& a, const Outcome& b) {
  REQUIRE(a.logits.size() == b.logits.size());
  for (std::size_t i = 0; i < a.logits.size(); ++i) check_same(a.logits[i], b.logits[i]);
  for (std::size_t i = 0; i < a.caches.size(); ++i) {
    const auto& x = dynamic_cast<const TransformerCache&>(*a.caches[i]);
    const auto& y = dynamic_cast<const TransformerCache&>(*b.caches[i]);
    CHECK(x.length() == y.length());
    for (int layer = 0; layer < x.num_layers(); ++layer) {
      CHECK(at::equal(x.keys(layer), y.keys(layer)));
      CHECK(at::equal(x.values(layer), y.values(layer)));
    }
  }
}

// A model that has more than a chunk in its matrices.
const char* const kWider =
    R"("hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
       "vocab_size": 1100)";

std::vector<testing::NamedConfig> plain_configs() {
  std::vector<testing::NamedConfig> out = testing::family_configs();
  out.push_back({"wider", llama_config(kWider)});
  out.push_back({"biases, tied", llama_config(R"("attention_bias": true, "mlp_bias": true,
                                                 "tie_word_embeddings": true)")});
  return out;
}

class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

TEST_CASE("a plain forward pass gives the bits of the layers' own operators") {
  std::mt19937 random(17);
  const testing::TemporaryFolder folder;
  for (const auto& [name, config] : plain_configs()) {
    make_model(folder.path(), config, 5);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool int8 : {false, true}) {
        const auto model = load_model(folder.path(), {.dtype = dtype, .int8 = int8});
        for (int round = 0; round < 4; ++round) {
          INFO(name << " in " << c10::toString(dtype) << (int8 ? ", int8 weights" : ""));
          const int most = round == 0 ? 64 : 1 + static_cast<int>(random() % 20);
          std::vector<RandomItem> items;
          for (int i = 0; i < 1 + round % 3; ++i)
            items.push_back(random_item(model->config().vocab_size, most, random));
          const Outcome expected = forward_all(*model, items, 0);
          for (const int threads : {1, 3}) {
            const Threads count(threads);
            check_same(forward_all(*model, items, threads), expected);
          }
        }
      }
    }
  }
}

TEST_CASE("a plain forward pass of some layers gives their logits") {
  const testing::TemporaryFolder folder;
  make_model(folder.path(), llama_config(kWider), 6);
  const auto model = load_model(folder.path(), {.dtype = at::kBFloat16});
  std::mt19937 random(3);
  const Tokens tokens = random_tokens(5, model->config().vocab_size, random);
  ForwardOptions options;
  options.layers = LayerRange{0, model->config().num_layers - 1};
  std::vector<at::Tensor> logits;
  for (const int threads : {0, 2}) {
    assume_plain_forward(threads);
    const auto cache = model->make_cache(8);
    logits.push_back(model->forward({TokenSpan(tokens), ChainShape{}, cache.get()}, options).logits);
    CHECK(cache->length(*options.layers) == 5);
    CHECK(cache->length({options.layers->last, model->config().num_layers}) == 0);
  }
  assume_plain_forward(std::nullopt);
  check_same(logits[0], logits[1]);
}

TEST_CASE("a plain forward pass refuses a token that the vocabulary lacks, and leaves the cache as it was") {
  const testing::TemporaryFolder folder;
  make_model(folder.path(), llama_config(), 6);
  const auto model = load_model(folder.path(), {.dtype = at::kFloat});
  const auto cache = model->make_cache(8);
  const Tokens tokens{1, static_cast<Token>(model->config().vocab_size)};
  CHECK_THROWS_AS(model->forward({TokenSpan(tokens), ChainShape{}, cache.get()}), Error);
  CHECK(cache->length() == 0);
}

}  // namespace
}  // namespace foretell
