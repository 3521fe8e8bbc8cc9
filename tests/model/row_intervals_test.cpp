// Rows of one forward that enter and leave at different layers: each is what it is alone, to the bit.
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/model/language_model.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::family_configs;
using testing::logits_of;
using testing::make_model;
using testing::max_difference;
using testing::random_tokens;

std::vector<NodeId> random_parents(int size, std::mt19937& random) {
  std::vector<NodeId> parents{0};
  while (static_cast<int>(parents.size()) < size)
    parents.push_back(static_cast<NodeId>(parents.size() - 1 - random() % std::min<std::size_t>(parents.size(), 3)));
  return parents;
}

// A draft of one sequence. Its first `early` rows stop on the way, none deeper than one that it follows.
struct Sequence {
  Tokens prompt, nodes;
  std::vector<NodeId> parents;
  std::vector<int> exits;
  std::unique_ptr<KvCache> cache;

  TokenSpan early() const { return TokenSpan(nodes).first(exits.size()); }
};

Sequence make_sequence(const LanguageModel& model, int size, int early, std::mt19937& random) {
  const int vocab = model.config().vocab_size, layers = model.config().num_layers;
  Sequence s{random_tokens(3 + static_cast<int>(random() % 9), vocab, random),
             random_tokens(size, vocab, random),
             random_parents(size, random),
             {},
             model.make_cache(40)};
  logits_of(model, s.prompt, *s.cache);
  for (int row = 0; row < early; ++row) {
    const int most = row == 0 ? layers : s.exits[static_cast<std::size_t>(s.parents[row])];
    s.exits.push_back(1 + static_cast<int>(random() % most));
  }
  return s;
}

// The whole draft at once, alone.
ForwardResult alone(const LanguageModel& model, const Sequence& s) {
  const auto cache = model.make_cache(40);
  logits_of(model, s.prompt, *cache);
  ForwardOptions options;
  for (int level = 0; level <= model.config().num_layers; ++level) options.aux_states.push_back(level);
  options.return_final_state = options.return_last_state = true;
  return model.forward(ForwardItem{TokenSpan(s.nodes), TreeShape{s.parents}, cache.get(), LogitRows::All}, options);
}

TEST_CASE("rows that leave at any layer and resume there beside new ones are what they are alone") {
  std::mt19937 random(21);
  for (const auto& [name, config] : family_configs()) {
    INFO(name);
    const testing::TemporaryFolder folder;
    const auto model = load_model(make_model(folder.path(), config, 31));
    const int layers = model->config().num_layers;
    std::vector<Sequence> batch;
    for (const auto& [size, early] : {std::pair{6, 4}, {5, 5}, {4, 0}, {1, 1}, {7, 1}})
      batch.push_back(make_sequence(*model, size, early, random));

    std::vector<ForwardItem> items;
    for (const Sequence& s : batch) {
      items.push_back(
          {s.early(), TreeShape{std::span(s.parents).first(s.exits.size())}, s.cache.get(), LogitRows::All});
      items.back().leaves = s.exits;
    }
    ForwardOptions options;
    options.return_last_state = true;
    const ForwardResult first = model->forward(items, options);

    std::vector<ForwardResult> expected;
    std::int64_t row = 0;
    for (const Sequence& s : batch) {
      expected.push_back(alone(*model, s));
      for (std::size_t i = 0; i < s.exits.size(); ++i, ++row) {
        CHECK(first.left[static_cast<std::size_t>(row)] == s.exits[i]);
        CHECK(
            at::equal(first.last_state[row],
                      expected.back().aux_states[static_cast<std::size_t>(s.exits[i])][static_cast<std::int64_t>(i)]));
      }
      CHECK(s.cache->length() == static_cast<int>(s.prompt.size() + s.exits.size()));
    }

    items.clear();
    std::vector<std::vector<int>> enters;
    enters.reserve(batch.size());
    row = 0;
    for (const Sequence& s : batch) {
      const auto resumed = static_cast<std::int64_t>(s.exits.size());
      enters.push_back(s.exits);
      enters.back().resize(s.nodes.size(), 0);
      ForwardItem& item =
          items.emplace_back(ForwardItem{TokenSpan(s.nodes), TreeShape{s.parents}, s.cache.get(), LogitRows::All});
      if (resumed > 0) {
        item.input = first.last_state.narrow(0, row, resumed);
        item.enters = enters.back();
        item.tokens = s.nodes;
      }
      row += resumed;
    }
    const at::Tensor before = first.last_state.clone();
    options.aux_states = {layers};
    options.return_final_state = true;
    const ForwardResult second = model->forward(items, options);
    CHECK(at::equal(before, first.last_state));
    row = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto rows = static_cast<std::int64_t>(batch[i].nodes.size());
      INFO("sequence " << i << ", off by " << max_difference(second.logits.narrow(0, row, rows), expected[i].logits));
      CHECK(at::equal(second.logits.narrow(0, row, rows), expected[i].logits));
      CHECK(at::equal(second.aux_states[0].narrow(0, row, rows),
                      expected[i].aux_states[static_cast<std::size_t>(layers)]));
      CHECK(at::equal(second.final_state.narrow(0, row, rows), expected[i].final_state));
      CHECK(batch[i].cache->length() == static_cast<int>(batch[i].prompt.size()) + rows);
      row += rows;
      // What follows reads the keys and values of all of them.
      const auto whole = model->make_cache(40);
      logits_of(*model, batch[i].prompt, *whole);
      model->forward(ForwardItem{TokenSpan(batch[i].nodes), TreeShape{batch[i].parents}, whole.get(), LogitRows::None});
      const Tokens next = random_tokens(2, model->config().vocab_size, random);
      CHECK(at::equal(logits_of(*model, next, *batch[i].cache), logits_of(*model, next, *whole)));
    }
  }
}

TEST_CASE("rows that enter or leave where they cannot are refused") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::llama_config(), 5));
  const auto cache = model->make_cache(8);
  const Tokens tokens{1, 2};
  ForwardOptions options;
  options.return_last_state = true;
  const at::Tensor states =
      model->forward(ForwardItem{TokenSpan(tokens), ChainShape{}, cache.get()}, options).last_state;
  const auto forward = [&](std::vector<int> enters, std::vector<int> leaves, const at::Tensor& input) {
    ForwardItem item{input, ChainShape{}, cache.get()};
    item.enters = enters;
    item.leaves = leaves;
    item.tokens = tokens;
    return model->forward(item);
  };
  const int layers = model->config().num_layers;
  CHECK_THROWS_AS(forward({0, 1}, {}, states.narrow(0, 0, 1)), InternalError);           // the resumed row comes second
  CHECK_THROWS_AS(forward({layers + 1, 0}, {}, states.narrow(0, 0, 1)), InternalError);  // no such layer
  CHECK_THROWS_AS(forward({1, 0}, {}, states), InternalError);                           // a state too many
  CHECK_THROWS_AS(forward({1, 1}, {0, 1}, states), InternalError);                       // behind no layer
  CHECK_THROWS_AS(forward({1, 1}, {layers}, states), InternalError);                     // for one of the rows
  CHECK(forward({1, 0}, {}, states.narrow(0, 0, 1)).logits.size(0) == 2);
}

}  // namespace
}  // namespace foretell
