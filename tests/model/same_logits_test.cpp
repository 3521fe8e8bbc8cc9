// One order of sums from end to end: a position's logits are the same to the bit whatever is computed with it, in every
// dtype and family.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "framework/model/load_model.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::family_configs;
using testing::logits_of;
using testing::make_model;
using testing::random_tokens;

constexpr int kTextLength = 128;  // two pieces of attention

struct LoadedAs {
  const char* name;
  ModelLoadOptions load;
};

std::vector<LoadedAs> loaded_kinds() {
  return {{"f32", {.dtype = at::kFloat}},
          {"bf16", {.dtype = at::kBFloat16}},
          {"int8", {.dtype = at::kFloat, .device = at::kCPU, .int8 = true}},
          {"int8 in bf16", {.dtype = at::kBFloat16, .device = at::kCPU, .int8 = true}},
          {"f32, int8 cache", {.dtype = at::kFloat, .device = at::kCPU, .int8 = false, .int8_cache = true}},
          {"bf16, int8 cache", {.dtype = at::kBFloat16, .device = at::kCPU, .int8 = false, .int8_cache = true}}};
}

// Calls check(model, tokens, logits of all positions one by one) for every dtype and family.
template <class F>
void for_models(unsigned seed, const F& check) {
  std::mt19937 random(seed);
  for (const auto& [name, config] : family_configs()) {
    const testing::TemporaryFolder folder;
    make_model(folder.path(), config, seed);
    for (const LoadedAs& kind : loaded_kinds()) {
      INFO(name << " in " << kind.name);
      const auto model = load_model(folder.path(), kind.load);
      const Tokens tokens = random_tokens(kTextLength, model->config().vocab_size, random);
      const auto cache = model->make_cache(kTextLength);
      std::vector<at::Tensor> rows;
      for (const Token token : tokens) rows.push_back(logits_of(*model, Tokens{token}, *cache));
      check(*model, tokens, at::cat(rows), random);
    }
  }
}

TEST_CASE("a prompt's logits do not depend on how it is cut, to the bit") {
  for_models(31,
             [](const LanguageModel& model, const Tokens& tokens, const at::Tensor& expected, std::mt19937& random) {
               CHECK(at::equal(logits_of(model, tokens), expected));
               const auto cache = model.make_cache(kTextLength);
               for (int first = 0; first < kTextLength;) {
                 const int size = std::min<int>(kTextLength - first, 1 + static_cast<int>(random() % 70));
                 CHECK(at::equal(logits_of(model, std::span(tokens).subspan(first, size), *cache),
                                 expected.narrow(0, first, size)));
                 first += size;
               }
             });
}

TEST_CASE("logits do not depend on the sequences and drafts that are computed with them, to the bit") {
  for_models(
      32, [](const LanguageModel& model, const Tokens& tokens, const at::Tensor& expected, std::mt19937& random) {
        for (const int batch : {2, 5, 16}) {
          std::vector<std::unique_ptr<KvCache>> caches;
          std::vector<ForwardItem> items;
          std::vector<std::pair<int, int>> places;
          for (int i = 0; i < batch; ++i) {
            const int first = static_cast<int>(random() % 62), drafted = static_cast<int>(random() % 65);
            caches.push_back(model.make_cache(kTextLength));
            if (first > 0) logits_of(model, TokenSpan(tokens).first(first), *caches.back());
            places.emplace_back(first, 1 + drafted);
            items.push_back({.input = TokenSpan(tokens).subspan(first, 1 + drafted), .cache = caches.back().get()});
          }
          const at::Tensor all = model.forward(items, {}).logits;
          int row = 0;
          for (const auto& [first, count] : places) {
            CHECK(at::equal(all.narrow(0, row, count), expected.narrow(0, first, count)));
            row += count;
          }
        }
      });
}

// Every node against its path, which is read in one go from an empty cache.
TEST_CASE("a node's logits are those of its path as a chain, to the bit") {
  for_models(33, [](const LanguageModel& model, const Tokens& tokens, const at::Tensor&, std::mt19937& random) {
    for (const int size : {4, 24}) {
      const int base = 60 + static_cast<int>(random() % 10);
      std::vector<int> parents(static_cast<std::size_t>(size));
      for (int node = 1; node < size; ++node) parents[node] = static_cast<int>(random() % node);
      const auto cache = model.make_cache(kTextLength);
      logits_of(model, TokenSpan(tokens).first(base), *cache);
      const at::Tensor tree =
          model.forward(ForwardItem{TokenSpan(tokens).subspan(base, size), TreeShape{parents}, cache.get()}).logits;
      for (int node = 0; node < size; node += 3) {
        Tokens path{tokens[base + node]};
        for (int above = node; above != 0;) {
          above = parents[above];
          path.insert(path.begin(), tokens[base + above]);
        }
        Tokens text(tokens.begin(), tokens.begin() + base);
        text.insert(text.end(), path.begin(), path.end());
        const at::Tensor chain = logits_of(model, text);
        CHECK(at::equal(tree.narrow(0, node, 1), chain.narrow(0, chain.size(0) - 1, 1)));
      }
    }
  });
}

// The tree's path is kept, moved in line, and the text goes on.
TEST_CASE("what follows an accepted path is what would follow it without a draft, to the bit") {
  for_models(34, [](const LanguageModel& model, const Tokens& tokens, const at::Tensor& expected, std::mt19937&) {
    const std::vector<int> parents{0, 0, 0, 2, 2, 4}, path{0, 2, 4, 5};
    const int base = 61;
    Tokens nodes{tokens[base], 7, tokens[base + 1], 9, tokens[base + 2], tokens[base + 3]};
    const auto cache = model.make_cache(kTextLength);
    logits_of(model, TokenSpan(tokens).first(base), *cache);
    model.forward(ForwardItem{TokenSpan(nodes), TreeShape{parents}, cache.get(), LogitRows::None});
    cache->keep(base, path);
    const auto after = static_cast<std::size_t>(base + 4);
    CHECK(at::equal(logits_of(model, TokenSpan(tokens).subspan(after, 20), *cache),
                    expected.narrow(0, static_cast<std::int64_t>(after), 20)));
    cache->truncate(base + 2);
    CHECK(
        at::equal(logits_of(model, TokenSpan(tokens).subspan(base + 2, 30), *cache), expected.narrow(0, base + 2, 30)));
  });
}

TEST_CASE("an int8 cache holds half of bfloat16's bytes, and logits stay near") {
  const testing::TemporaryFolder folder;
  make_model(folder.path(), testing::llama_config(R"("head_dim": 64)"), 35);
  std::mt19937 random(35);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto plain = load_model(folder.path(), {.dtype = type});
    const auto rounded =
        load_model(folder.path(), {.dtype = type, .device = at::kCPU, .int8 = false, .int8_cache = true});
    const auto bytes = static_cast<double>(rounded->make_cache(8)->bytes());
    const auto before = static_cast<double>(plain->make_cache(8)->bytes());
    CHECK(bytes == before * (64 + 4) / (64.0 * (type == at::kFloat ? 4 : 2)));
    const Tokens tokens = random_tokens(kTextLength, plain->config().vocab_size, random);
    const at::Tensor exact = logits_of(*plain, tokens), near = logits_of(*rounded, tokens);
    CHECK_FALSE(at::equal(near, exact));
    CHECK((near - exact).abs().mean().item<float>() < 0.05F * exact.std().item<float>());
  }
}

}  // namespace
}  // namespace foretell
