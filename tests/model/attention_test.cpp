// Attention through a policy against plain masks: the slow reference where one mask holds for all heads, tensors by
// hand where heads differ.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "framework/api/build_context.h"
#include "framework/decoding/bases/model_session.h"
#include "framework/model/attention.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "framework/model/transformer_cache.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/reference_transformer.h"

namespace foretell {
namespace {

constexpr float kMaskTolerance = 1e-4F;

struct Model {
  explicit Model(const std::string& more, const std::string& type = "llama") {
    std::ofstream(folder.path() / "source.json") << fmt::format(
        R"({{"model_type": "{}", "vocab_size": 53, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
             "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 128,
             "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "dtype": "float32"{}}})",
        type, more);
    make_random(folder.path() / "source.json", folder.path(), 3);
    model = load_model(folder.path());
    reference = std::make_unique<testing::ReferenceTransformer>(folder.path());
  }
  std::vector<std::vector<double>> expected(TokenSpan tokens, std::function<bool(int row, int column)> visible) const {
    testing::ReferenceTransformer::Options options;
    options.visible = std::move(visible);
    return reference->logits(tokens, options);
  }
  testing::TemporaryFolder folder;
  std::shared_ptr<const LanguageModel> model;
  std::unique_ptr<testing::ReferenceTransformer> reference;
};

std::unique_ptr<AttentionPolicy> make_policy(const std::string& yaml) {
  return Registry<AttentionPolicy>::instance().make(parse_yaml(yaml, "attention.yaml"), BuildContext{});
}

Tokens some_tokens(int count, unsigned seed) {
  std::mt19937 random(seed);
  Tokens out;
  for (int i = 0; i < count; ++i) out.push_back(static_cast<Token>(random() % 53));
  return out;
}

at::Tensor forward(const LanguageModel& model, TokenSpan tokens, KvCache& cache, AttentionPolicy* policy,
                   const Shape& shape = ChainShape{}) {
  return model.forward(ForwardItem{tokens, shape, &cache, LogitRows::All, {policy}}).logits;
}

float difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a - b).abs().max().item<float>();
}

float difference(const at::Tensor& rows, int first, const std::vector<std::vector<double>>& expected) {
  float worst = 0;
  for (std::int64_t row = 0; row < rows.size(0); ++row)
    for (std::int64_t i = 0; i < rows.size(1); ++i)
      worst = std::max(worst, std::abs(rows[row].const_data_ptr<float>()[i] -
                                       static_cast<float>(expected[static_cast<std::size_t>(first + row)][i])));
  return worst;
}

// Rows of an item that starts at row `start` see the sinks, the window of its first row, and one another.
struct HandMask {
  std::vector<int> start;  // by row
  int sinks, window;
  bool operator()(int row, int column) const {
    const int first = start[static_cast<std::size_t>(row)];
    return column <= row && (column >= first || column < sinks || first - column < window);
  }
};

TEST_CASE("a window as long as the text is full attention, to the bit") {
  const Model m("");
  const auto policy = make_policy("{type: streaming, sinks: 0, window: 64}");
  const Tokens tokens = some_tokens(40, 1);
  const auto full = m.model->make_cache(40), sparse = m.model->make_cache(40);
  for (const auto& [first, count] : {std::pair{0, 20}, {20, 1}, {21, 7}, {28, 12}}) {
    const TokenSpan part = TokenSpan(tokens).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    CHECK(difference(forward(*m.model, part, *full, nullptr), forward(*m.model, part, *sparse, policy.get())) == 0);
  }
}

TEST_CASE("a small window is the reference under that mask, in pieces of any size") {
  for (const auto& [type, more] : {std::pair{"llama", ""}, {"llama", R"(, "num_key_value_heads": 1)"}, {"gpt2", ""}}) {
    const Model m(more, type);
    const Tokens tokens = some_tokens(40, 2);
    for (const auto& [sinks, window] : {std::pair{2, 5}, {0, 1}, {4, 12}}) {
      INFO(type << more << ", sinks " << sinks << ", window " << window);
      const auto policy = make_policy(fmt::format("{{type: streaming, sinks: {}, window: {}}}", sinks, window));
      const auto cache = m.model->make_cache(40);
      HandMask mask{{}, sinks, window};
      std::vector<at::Tensor> parts;
      for (const int count : {9, 1, 1, 4, 1, 16, 8}) {
        const auto first = static_cast<int>(mask.start.size());
        parts.push_back(forward(
            *m.model, TokenSpan(tokens).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
            *cache, policy.get()));
        mask.start.insert(mask.start.end(), static_cast<std::size_t>(count), first);
      }
      CHECK(difference(at::cat(parts), 0, m.expected(tokens, mask)) < kMaskTolerance);
    }
  }
}

TEST_CASE("trees, rewinds and what follows them see the reference's mask") {
  const Model m("");
  const auto policy = make_policy("{type: streaming, sinks: 1, window: 4}");
  ModelSession session(*m.model, 64, {policy->fresh(), 10});
  Tokens text = some_tokens(14, 4);
  HandMask mask{std::vector<int>(12, 0), 1,
                4};  // the prompt of 10 is read with full attention, by an item of 12 rows that begins in it
  session.align(text);
  m.model->forward(session.extend(TokenSpan(text).first(12), LogitRows::None));
  m.model->forward(session.extend(TokenSpan(text).subspan(12), LogitRows::None));
  mask.start.insert(mask.start.end(), 2, 12);
  // A tree on the last token: 1 and 2 follow it, 3 follows 2; one item a level. All of it counts as one item that
  // begins at the last token.
  const std::vector<DraftNode> first{{7, 0}, {8, 0}}, second{{9, 2}};
  m.model->forward(session.grow(first));
  const at::Tensor deep = m.model->forward(session.grow(second)).logits;
  Tokens path = text;
  path.insert(path.end(), {8, 9});
  HandMask on_path = mask;
  on_path.start.insert(on_path.start.end(), 2, 13);
  CHECK(difference(deep, 15, m.expected(path, on_path)) < kMaskTolerance);
  // 8 and 9 are accepted, 3 follows; then the text is cut to before them and goes on otherwise.
  text = path;
  text.push_back(3);
  CHECK(session.align(text) == 16);
  const at::Tensor after = m.model->forward(session.extend(TokenSpan(text).last(1), LogitRows::All)).logits;
  on_path.start.push_back(16);
  CHECK(difference(after, 16, m.expected(text, on_path)) < kMaskTolerance);
  text.resize(15);
  text.insert(text.end(), {5, 6});
  CHECK(session.align(text) == 15);
  const at::Tensor again = m.model->forward(session.extend(TokenSpan(text).subspan(15), LogitRows::All)).logits;
  on_path.start.resize(15);
  on_path.start.insert(on_path.start.end(), 2, 15);
  CHECK(difference(again, 15, m.expected(text, on_path)) < kMaskTolerance);
}

TEST_CASE("a policy is one item's alone") {
  const Model m("");
  const auto policy = make_policy("{type: streaming, sinks: 1, window: 3}");
  const Tokens a = some_tokens(20, 5), b = some_tokens(11, 6), next = some_tokens(2, 7);
  const auto fill = [&](const Tokens& tokens) {
    auto cache = m.model->make_cache(32);
    forward(*m.model, tokens, *cache, nullptr);
    return cache;
  };
  const auto one = fill(a), two = fill(b), alone_one = fill(a), alone_two = fill(b);
  const std::vector<ForwardItem> batch = {
      {TokenSpan(next).first(1), ChainShape{}, one.get(), LogitRows::All, {policy.get()}},
      {TokenSpan(next), ChainShape{}, two.get(), LogitRows::All}};
  const at::Tensor both = m.model->forward(batch, {}).logits;
  CHECK(difference(both.narrow(0, 0, 1), forward(*m.model, TokenSpan(next).first(1), *alone_one, policy.get())) <
        kMaskTolerance);
  CHECK(difference(both.narrow(0, 1, 2), forward(*m.model, next, *alone_two, nullptr)) < kMaskTolerance);
}

// Sees what it is told, remembers what was looked at, and asks another policy beside it.
class Spy final : public AttentionPolicy {
 public:
  struct Look {
    int layer, row;
    std::vector<int> columns;    // of head 0
    std::vector<float> weights;  // of head 0
  };
  std::unique_ptr<AttentionPolicy> inner = {};
  bool watches = true;
  std::vector<Look> looks = {};
  std::vector<std::vector<int>> chosen = {};

  std::unique_ptr<AttentionPolicy> fresh() const override { return nullptr; }
  bool wants_weights() const override { return watches; }
  KvSelection select_kv(const AttentionView& view) override {
    KvSelection rows = inner->select_kv(view);
    chosen.push_back({rows.rows.begin(), rows.rows.begin() + static_cast<std::ptrdiff_t>(rows.rows.size()) /
                                                                 (rows.per_head ? view.kv_heads : 1)});
    return rows;
  }
  void observe(const AttentionWeights& seen) override {
    const std::size_t width = seen.weights.size() / static_cast<std::size_t>(seen.kv_heads * seen.queries);
    for (int q = 0; q < seen.queries; ++q) {
      const auto row = seen.weights.subspan(static_cast<std::size_t>(q) * width, width);
      looks.push_back({seen.layer,
                       seen.first_row + q,
                       {seen.columns.begin(), seen.columns.begin() + static_cast<std::ptrdiff_t>(width)},
                       {row.begin(), row.end()}});
    }
    inner->observe(seen);
  }
  void keep(int base, std::span<const int> rows) override { inner->keep(base, rows); }
};

TEST_CASE("weights that are handed over are those that were used") {
  const Model m("");
  const Tokens tokens = some_tokens(100, 8);
  const std::vector<NodeId> parents{0, 0, 0, 1};
  for (const char* yaml : {"{type: streaming, sinks: 100, window: 1}", "{type: streaming, sinks: 2, window: 6}"}) {
    Spy spy, silent;
    spy.inner = make_policy(yaml);
    silent.inner = make_policy(yaml);
    silent.watches = false;
    const auto one = m.model->make_cache(128), two = m.model->make_cache(128);
    // More queries at once than are handed over together, then a tree.
    for (const auto& [part, shape] : {std::pair<TokenSpan, Shape>{TokenSpan(tokens).first(90), ChainShape{}},
                                      {TokenSpan(tokens).subspan(90, 1), ChainShape{}},
                                      {TokenSpan(tokens).subspan(91, 4), TreeShape{parents}}})
      CHECK(difference(forward(*m.model, part, *one, &spy, shape), forward(*m.model, part, *two, &silent, shape)) <
            kMaskTolerance);
    CHECK(spy.looks.size() == 3 * 95);
    for (const Spy::Look& look : spy.looks) {
      float sum = 0;
      for (std::size_t i = 0; i < look.columns.size(); ++i) {
        sum += look.weights[i];
        if (look.columns[i] > look.row) CHECK(look.weights[i] == 0);
      }
      CHECK(std::abs(sum - 2) < 1e-5F);  // two query heads share the key head
    }
    const Spy::Look& last =
        spy.looks.back();  // the fourth row of the tree: its parent is seen, the sibling of that is not
    CHECK(last.row == 94);
    CHECK(last.weights[last.weights.size() - 3] > 0);
    CHECK(last.weights[last.weights.size() - 2] == 0);
  }
}

TEST_CASE("h2o on a model keeps what its accumulated weights say, and attends to that") {
  const Model m(R"(, "num_hidden_layers": 1, "num_key_value_heads": 1)");
  Spy spy;
  spy.inner = make_policy("{type: h2o, heavy_hitters: 3, window: 4}");
  const Tokens tokens = some_tokens(40, 9);
  const auto cache = m.model->make_cache(40);
  const int prompt = 20;
  m.model->forward(
      ForwardItem{TokenSpan(tokens).first(prompt), ChainShape{}, cache.get(), LogitRows::None, {&spy, true}});
  std::vector<at::Tensor> rows;
  for (std::size_t row = prompt; row < tokens.size(); ++row)
    rows.push_back(forward(*m.model, TokenSpan(tokens).subspan(row, 1), *cache, &spy));

  std::vector<double> score(tokens.size(), 0);
  std::vector<int> candidates;  // that have left the window and were never passed over
  std::size_t next = 0, look = 0;
  for (int cached = prompt; cached < 40; ++cached) {
    for (; spy.looks[look].row < cached; ++look)
      for (std::size_t i = 0; i < spy.looks[look].columns.size(); ++i)
        score[static_cast<std::size_t>(spy.looks[look].columns[i])] += spy.looks[look].weights[i];
    const int recent = cached - 3;
    for (; static_cast<int>(next) < recent; ++next) candidates.push_back(static_cast<int>(next));
    std::stable_sort(candidates.begin(), candidates.end(), [&](int a, int b) {
      return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
    });
    candidates.resize(3);
    std::vector<int> expected = candidates;
    std::sort(expected.begin(), expected.end());
    for (int row = recent; row < cached; ++row) expected.push_back(row);
    CHECK(spy.chosen[static_cast<std::size_t>(cached - prompt)] == expected);
  }
  const auto visible = [&](int row, int column) {
    if (row < prompt || row == column) return column <= row;
    const std::vector<int>& chosen = spy.chosen[static_cast<std::size_t>(row - prompt)];
    return std::find(chosen.begin(), chosen.end(), column) != chosen.end();
  };
  CHECK(difference(at::cat(rows), prompt, m.expected(tokens, visible)) < kMaskTolerance);
}

// Every key head sees rows of its own.
class OwnRows final : public AttentionPolicy {
 public:
  std::unique_ptr<AttentionPolicy> fresh() const override { return nullptr; }
  KvSelection select_kv(const AttentionView&) override { return {{0, 3, 4, 1, 2, 6}, true}; }
};

TEST_CASE("key heads attend to rows of their own") {
  const HeadLayout layout{4, 2, 8};
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  TransformerCache cache(1, 2, 16, 8, options);
  cache.keys(0).copy_(at::randn({2, 16, 8}, options));
  cache.values(0).copy_(at::randn({2, 16, 8}, options));
  cache.grow({0, 1}, 7);
  OwnRows policy;
  const Tokens two{1, 2};
  const ForwardItem item{TokenSpan(two), ChainShape{}, &cache, LogitRows::All, {&policy}};
  const BatchPlan plan =
      plan_batch(std::span(&item, 1), {.layers = {0, 1}, .context = 64, .frequencies = {}, .options = options});
  const at::Tensor qkv = at::randn({2, 64}, options);
  at::Tensor mask = at::full_like(at::zeros({4, 2, 9}, options), -std::numeric_limits<float>::infinity());
  for (int head = 0; head < 4; ++head)
    for (int row = 0; row < 2; ++row) {
      for (const int column : head < 2 ? std::vector<int>{0, 3, 4} : std::vector<int>{1, 2, 6})
        mask[head][row][column] = 0;
      for (int own = 0; own <= row; ++own) mask[head][row][7 + own] = 0;
    }
  const auto per_head = [](const at::Tensor& kv) { return kv.narrow(1, 0, 9).repeat_interleave(2, 0); };
  const at::Tensor queries = qkv.narrow(1, 0, 32).view({2, 4, 8}).transpose(0, 1);
  const at::Tensor weights = (queries.matmul(per_head(cache.keys(0)).transpose(1, 2)) * 0.3 + mask).softmax(-1);
  const at::Tensor expected = weights.matmul(per_head(cache.values(0))).transpose(0, 1).reshape({2, 32});
  CHECK(difference(attend(qkv, layout, plan, 0, 0.3), expected) < 1e-5F);
}

}  // namespace
}  // namespace foretell
