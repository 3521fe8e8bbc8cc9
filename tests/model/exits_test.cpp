// A target whose rows leave early: every rule for the layers above against a reference in double precision, rows of a
// batch at different depths, and what is owed.
#include <ATen/ops/equal.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"
#include "framework/decoding/target_view.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/reference_transformer.h"
#include "tests/support/self_drafter.h"

namespace foretell {
namespace {

using testing::family_configs;
using testing::make_model;
using testing::random_tokens;
using testing::ReferenceTransformer;

using Depths = std::function<int(std::uint64_t request, int position)>;

// Rows leave as soon as they have so many layers behind them.
class Scripted final : public ExitPolicy {
 public:
  explicit Scripted(Depths depths, ExitWants wants = {}) : depths_(std::move(depths)), wants_(std::move(wants)) {}
  std::vector<int> layers(int num_layers) const override {
    std::vector<int> all;
    for (int layer = 1; layer < num_layers; ++layer) all.push_back(layer);
    return all;
  }
  ExitWants wants() const override { return wants_; }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    probes.push_back(probe.layer);
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      rows.push_back(probe.rows[i]);
      leaves[i] = depths_(probe.rows[i].request, probe.rows[i].position) <= probe.layer ? 1 : 0;
    }
  }
  void observe(std::span<const ExitRecord> some) override { records.insert(records.end(), some.begin(), some.end()); }

  std::vector<int> probes;
  std::vector<ExitRow> rows;
  std::vector<ExitRecord> records;

 private:
  Depths depths_;
  ExitWants wants_;
};

int scattered(std::uint64_t request, int position, int layers) {
  return 1 + static_cast<int>((request * 31 + static_cast<std::uint64_t>(position) * 17 + 5) % 7) % layers;
}

// A text that is decoded with drafts of a chain of its next tokens and wrong siblings, so many of which are accepted.
struct Text {
  Request request;
  Tokens tokens;  // the prompt and what follows
  std::vector<int> accepted;
};

std::vector<Text> make_texts(int count, int vocab, std::mt19937& random) {
  std::vector<Text> out;
  for (int i = 0; i < count; ++i) {
    Text text;
    const int prompt = 2 + static_cast<int>(random() % 7);
    text.tokens = random_tokens(prompt + 24, vocab, random);
    text.request = {.id = static_cast<std::uint64_t>(i),
                    .prompt = {text.tokens.begin(), text.tokens.begin() + prompt},
                    .max_new_tokens = 24};
    for (int round = 0; round < 6; ++round) text.accepted.push_back(static_cast<int>(random() % 4));
    out.push_back(text);
  }
  return out;
}

// A chain of three of the next tokens, each with a wrong sibling.
struct Draft {
  DraftTree tree;
  std::vector<NodeId> chain;
};

Draft draft_of(const Text& text, std::size_t anchor, int vocab) {
  Draft draft{DraftTree(text.tokens[anchor]), {}};
  NodeId at = kAnchor;
  for (std::size_t i = 1; i <= 3; ++i) {
    const Token next = text.tokens[anchor + i];
    draft.tree.choose(at, (next + 1) % vocab, vocab);
    draft.chain.push_back(at = draft.tree.choose(at, next, vocab));
  }
  return draft;
}

// The logits behind each position from the last one of the prompt on, as they were first computed for an accepted token
// or an anchor. One batch.
std::vector<std::map<int, std::vector<float>>> decode(const std::shared_ptr<const LanguageModel>& model,
                                                      std::span<const Text> texts, const ExitSettings& exits) {
  const int vocab = model->config().vocab_size;
  const auto target = make_model_target(model, {.prefill_chunk = 3, .rules = {.exits = exits}});
  const Sampler sampler(SamplingOptions{}, vocab);
  std::vector<std::unique_ptr<TargetSession>> sessions;
  std::vector<std::size_t> anchors;
  for (const Text& text : texts) {
    sessions.push_back(target->open(text.request, 8, {}));
    sessions.back()->prefill(TokenSpan(text.request.prompt).first(text.request.prompt.size() - 1), {});
    anchors.push_back(text.request.prompt.size() - 1);
  }
  std::vector<std::map<int, std::vector<float>>> out(texts.size());
  for (std::size_t round = 0; round < texts[0].accepted.size(); ++round) {
    std::vector<Draft> drafts;
    for (std::size_t i = 0; i < texts.size(); ++i) drafts.push_back(draft_of(texts[i], anchors[i], vocab));
    std::vector<ScoreRequest> requests;
    for (std::size_t i = 0; i < texts.size(); ++i)
      requests.push_back({*sessions[i], drafts[i].tree, sampler, {texts[i].request.prompt, {}, {}}});
    const auto scores = target->score(requests);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto accepted = static_cast<std::size_t>(texts[i].accepted[round]);
      std::vector<NodeId> path(drafts[i].chain.begin(),
                               drafts[i].chain.begin() + static_cast<std::ptrdiff_t>(accepted));
      for (std::size_t depth = 0; depth <= accepted; ++depth) {
        const auto row = scores[i]->logits(depth == 0 ? kAnchor : path[depth - 1]);
        out[i].try_emplace(static_cast<int>(anchors[i] + depth), row.begin(), row.end());
      }
      sessions[i]->keep(path);
      anchors[i] += accepted + 1;
    }
  }
  return out;
}

double worst(const std::map<int, std::vector<float>>& got, const std::vector<std::vector<double>>& expected) {
  double most = 0;
  for (const auto& [position, row] : got)
    for (std::size_t t = 0; t < row.size(); ++t)
      most = std::max(most, std::abs(row[t] - expected[static_cast<std::size_t>(position)][t]));
  return most;
}

constexpr KvRule kRules[] = {KvRule::Propagate, KvRule::Copy, KvRule::Recompute, KvRule::Hole};

TEST_CASE("every rule for skipped layers is what a reference computes, and rows are what they are alone", "[exits]") {
  std::mt19937 random(41);
  for (const auto& [name, config] : family_configs()) {
    const testing::TemporaryFolder folder;
    const auto model = load_model(make_model(folder.path(), config, 51));
    const ReferenceTransformer reference(folder.path());
    const int layers = model->config().num_layers;
    const std::vector<Text> texts = make_texts(3, model->config().vocab_size, random);
    const auto depths = [layers](std::uint64_t request, int position) { return scattered(request, position, layers); };
    for (const KvRule kv : kRules) {
      INFO(name << ", rule " << static_cast<int>(kv));
      const ExitSettings exits{std::make_shared<Scripted>(depths), {}, kv, 8};
      const auto together = decode(model, texts, exits);
      for (std::size_t i = 0; i < texts.size(); ++i) {
        CHECK((decode(model, std::span(texts).subspan(i, 1), exits)[0] == together[i]));
        ReferenceTransformer::Options options;
        options.kv = kv;
        const int prompt = static_cast<int>(texts[i].request.prompt.size());
        for (int position = 0; position < static_cast<int>(texts[i].tokens.size()); ++position)
          options.exits.push_back(position < prompt - 1 ? layers : depths(texts[i].request.id, position));
        CHECK(worst(together[i], reference.logits(texts[i].tokens, options)) < 2e-4);
      }
    }
  }
}

TEST_CASE("what is owed may wait for as long as it likes: nothing but time depends on it", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::small_config("qwen3"), 52));
  std::mt19937 random(42);
  const std::vector<Text> texts = make_texts(4, model->config().vocab_size, random);
  for (const bool all_early : {true, false}) {
    const Depths depths = [&](std::uint64_t request, int position) {
      return all_early ? 1 : scattered(request, position, 3);
    };
    const auto with = [&](int max_pending) {
      return decode(model, texts, {std::make_shared<Scripted>(depths), {}, KvRule::Recompute, max_pending});
    };
    const auto at_once = with(0);
    for (const int pending : {1, 7, 1000}) CHECK((with(pending) == at_once));
  }
}

TEST_CASE("a policy that never lets go is the model itself, to the bit", "[exits]") {
  std::mt19937 random(43);
  const BuildContext context;
  for (const auto& [name, config] : family_configs()) {
    INFO(name);
    const testing::TemporaryFolder folder;
    const std::shared_ptr<const LanguageModel> model = load_model(make_model(folder.path(), config, 53));
    const std::vector<Text> texts = make_texts(8, model->config().vocab_size, random);
    const auto plain = decode(model, texts, {});
    for (const char* yaml :
         {"{type: max_probability, threshold: 1}", "{type: margin, threshold: 1.0}", "{type: entropy, threshold: 0}",
          "{type: hidden_similarity, threshold: 1}", "{type: patience, patience: 0}"})
      for (const KvRule kv : kRules)
        CHECK(decode(model, texts,
                     {Registry<ExitPolicy>::instance().make(parse_yaml(yaml, "exit.yaml"), context), {}, kv, 4}) ==
              plain);
  }
}

TEST_CASE("the cache that is lent is whole, and so are the layers below a provisional row", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::small_config("llama"), 54));
  const int vocab = model->config().vocab_size;
  std::mt19937 random(44);
  const Text text = make_texts(1, vocab, random)[0];
  const Sampler sampler(SamplingOptions{}, vocab);
  const std::size_t prompt = text.request.prompt.size();
  // The whole text but its last token by the model itself.
  const auto whole = model->make_cache(64);
  testing::logits_of(*model, TokenSpan(text.tokens).first(prompt + 2), *whole);
  const TokenSpan next = TokenSpan(text.tokens).subspan(prompt + 2, 1);
  const at::Tensor expected = testing::logits_of(*model, next, *whole);
  for (const bool lend : {true, false}) {
    const auto target = make_model_target(
        model,
        {.rules = {
             .exits = {std::make_shared<Scripted>([](std::uint64_t, int) { return 1; }), {}, KvRule::Recompute, 64}}});
    const auto session = target->open(text.request, 8, {});
    session->prefill(TokenSpan(text.request.prompt).first(prompt - 1), {});
    for (std::size_t i = 0; i < 3; ++i) {
      const DraftTree bare(text.tokens[prompt - 1 + i]);
      const ScoreRequest request{*session, bare, sampler, {text.request.prompt, {}, {}}};
      target->score(std::span(&request, 1));
      session->keep({});
    }
    TargetView& view = *session->view();
    if (lend) {
      CHECK(at::equal(testing::logits_of(*model, next, view.lend()), expected));
      continue;
    }
    const DraftNode anchor{next[0], kAnchor};
    ForwardOptions options;
    view.ask(options);
    const ForwardResult result = model->forward(view.provisional(std::span(&anchor, 1)), options);
    CHECK(at::equal(result.logits, expected));
    view.take(result, 0);
  }
}

TEST_CASE("a target that owes rows decodes to the end of the context", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model =
      load_model(make_model(folder.path(), testing::small_config("llama", R"("max_position_embeddings": 48)"), 55));
  const BuildContext context{.vocab = model->config().vocab_size};
  const auto drafter = Registry<Drafter>::instance().make(parse_yaml("{type: prompt_lookup}", "d"), context);
  const auto verifier = Registry<Verifier>::instance().make(parse_yaml("rejection", "v"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 3; ++id)
    requests.push_back({.id = id, .prompt = {1, 2, static_cast<Token>(3 + id), 1, 2}, .max_new_tokens = 1000});
  std::vector<std::vector<Tokens>> texts;
  for (const int batch : {1, 3})
    for (const int pending : {0, 5, 100}) {
      const auto target = make_model_target(
          model, {.rules = {.exits = {std::make_shared<Scripted>([](std::uint64_t request, int position) {
                                        return scattered(request, position, 3);
                                      }),
                                      {},
                                      KvRule::Recompute,
                                      pending}}});
      std::vector<Tokens>& all = texts.emplace_back();
      for (const Generation& g : Decoder(*target, {*drafter, *verifier, *policy}, {.max_batch = batch}).run(requests)) {
        CHECK(g.finish == FinishReason::Context);
        all.push_back(g.tokens);
      }
    }
  for (const auto& other : texts) CHECK(other == texts.front());
}

TEST_CASE("speculation on a target whose rows leave early emits what it emits without", "[exits]") {
  const testing::TemporaryFolder folder;
  const std::shared_ptr<const LanguageModel> model =
      load_model(make_model(folder.path(), testing::small_config("llama"), 59));
  BuildContext context{.vocab = model->config().vocab_size};
  context.target = model;
  const auto verifier = Registry<Verifier>::instance().make(parse_yaml("rejection", "v"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 3; ++id)
    requests.push_back({.id = id, .prompt = {1, 2, static_cast<Token>(3 + id), 1, 2}, .max_new_tokens = 40});
  for (const KvRule kv : kRules) {
    const auto texts = [&](Drafter& drafter, int batch) {
      const auto target = make_model_target(
          model, {.rules = {.exits = {std::make_shared<Scripted>([](std::uint64_t request, int position) {
                                        return scattered(request, position, 3);
                                      }),
                                      {},
                                      kv,
                                      6}}});
      std::vector<Tokens> all;
      for (const Generation& g : Decoder(*target, {drafter, *verifier, *policy}, {.max_batch = batch}).run(requests))
        all.push_back(g.tokens);
      return all;
    };
    const auto make = [&](const char* yaml) {
      return Registry<Drafter>::instance().make(parse_yaml(yaml, "d"), context);
    };
    const auto plain = texts(*make("none"), 1);
    for (const int batch : {1, 3}) {
      CHECK(texts(*make("none"), batch) == plain);
      CHECK(texts(*make("prompt_lookup"), batch) == plain);
      CHECK(texts(*make("{type: quantised_self, num_speculative_tokens: 3}"), batch) == plain);
      CHECK(texts(*testing::make_self_drafter(model, {.layers = 2}), batch) == plain);
    }
  }
}

TEST_CASE("a policy is asked where it says, of what it wants, about rows that have not left", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::small_config("llama"), 56));
  const int vocab = model->config().vocab_size;
  struct Looks final : ExitPolicy {
    std::vector<int> layers(int) const override { return {1, 2}; }
    ExitWants wants() const override { return wanted; }
    void decide(const ExitProbe& probe, std::span<char> leaves) override {
      seen.push_back({probe.layer, static_cast<int>(probe.rows.size()), static_cast<int>(probe.logits.size()),
                      static_cast<int>(probe.states.size()), static_cast<int>(probe.previous.size())});
      if (probe.layer == 1) {
        CHECK(probe.first);
        leaves[1] = 1;
      }
      for (const ExitRow& row : probe.rows)
        CHECK((row.request == 9 && row.generated == 4 + row.row && row.max_new_tokens == 30));
      drafted.clear();
      for (const ExitRow& row : probe.rows) drafted.push_back(row.drafted);
    }
    ExitWants wanted;
    std::vector<std::vector<int>> seen;
    std::vector<bool> drafted;
  };
  const int hidden = model->config().hidden_size;
  const Tokens tokens{1, 2, 3};
  const std::vector<NodeId> parents{0, 0, 1};
  const auto forward = [&](Looks& policy) {
    const auto cache = model->make_cache(8);
    ForwardItem item{TokenSpan(tokens), TreeShape{parents}, cache.get()};
    item.exit = {.request = 9, .generated = 4, .max_new_tokens = 30};
    const ExitRules rules{&policy};
    ForwardOptions options;
    options.exits = &rules;
    return model->forward(item, options);
  };
  Looks nothing, logits{}, two{}, states{};
  logits.wanted.logits = true;
  two.wanted.tokens = {5, 0};
  states.wanted.states = true;
  const ForwardResult result = forward(nothing);
  CHECK((result.left == std::vector<int>{3, 1, 3} && result.reached == result.left));
  CHECK(result.probes == std::vector<int>{0, 0, 0});
  CHECK((nothing.seen == std::vector<std::vector<int>>{{1, 3, 0, 0, 0}, {2, 2, 0, 0, 0}}));
  CHECK(nothing.drafted == std::vector<bool>{false, true});
  const ForwardResult looked = forward(logits);
  CHECK(looked.probes == std::vector<int>{2, 1, 2});
  CHECK(at::equal(looked.logits, result.logits));  // the logits that were looked at answer the row
  CHECK((logits.seen == std::vector<std::vector<int>>{{1, 3, 3 * vocab, 0, 0}, {2, 2, 2 * vocab, 0, 0}}));
  CHECK(at::equal(forward(two).logits, result.logits));
  CHECK((two.seen == std::vector<std::vector<int>>{{1, 3, 6, 0, 0}, {2, 2, 4, 0, 0}}));
  CHECK(at::equal(forward(states).logits, result.logits));
  CHECK((states.seen == std::vector<std::vector<int>>{{1, 3, 0, 3 * hidden, 0}, {2, 2, 0, 2 * hidden, 2 * hidden}}));
}

TEST_CASE("rows that leave by heads of their own are answered by these", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::small_config("llama"), 57));
  struct Doubled final : ExitHeads, OutputHead {
    explicit Doubled(const LanguageModel& model) : model(model) {}
    const OutputHead& at(int layer) const override {
      asked.push_back(layer);
      return *this;
    }
    at::Tensor logits(const at::Tensor& state) const override {
      return model.parts()->head().logits(model.parts()->final_norm(state)).mul(2);
    }
    at::Tensor logits_of(const at::Tensor& state, TokenSpan tokens) const override {
      return model.parts()->head().logits_of(model.parts()->final_norm(state), tokens).mul(2);
    }
    int vocab() const override { return model.config().vocab_size; }
    std::size_t bytes() const override { return 0; }
    const LanguageModel& model;
    mutable std::vector<int> asked;
  } heads(*model);
  const Tokens tokens{4, 5};
  for (const bool looks : {false, true}) {
    Scripted policy([](std::uint64_t, int position) { return position == 0 ? 2 : 3; }, {.logits = looks});
    const auto forward = [&](const ExitHeads* by) {
      const auto cache = model->make_cache(8);
      const ExitRules rules{&policy, by};
      ForwardOptions options;
      options.exits = &rules;
      return model->forward(ForwardItem{TokenSpan(tokens), ChainShape{}, cache.get()}, options).logits;
    };
    heads.asked.clear();
    const at::Tensor own = forward(nullptr), other = forward(&heads);
    CHECK(at::equal(other[0], own[0].mul(2)));
    CHECK(at::equal(other[1], own[1]));
    CHECK(heads.asked == (looks ? std::vector<int>{1, 2} : std::vector<int>{2}));
  }
}

TEST_CASE("what rows cost is counted row by row", "[exits]") {
  const testing::TemporaryFolder folder;
  const auto model = load_model(make_model(folder.path(), testing::small_config("qwen3_moe"), 58));
  const int layers = model->config().num_layers;
  Scripted policy([](std::uint64_t, int position) { return position == 1 ? 1 : 3; });
  const Tokens tokens{1, 2, 3};
  const auto work = [&](KvRule kv) {
    const auto cache = model->make_cache(8);
    const ExitRules rules{&policy, nullptr, kv};
    ForwardOptions options;
    options.exits = &rules;
    options.count_work = true;
    return model->forward(ForwardItem{TokenSpan(tokens), ChainShape{}, cache.get()}, options).work;
  };
  REQUIRE(layers == 3);
  const std::vector<RowWork> stored = work(KvRule::Propagate), holes = work(KvRule::Hole);
  CHECK((stored[0].layers == 3 && stored[1].layers == 1 && stored[2].layers == 3));
  CHECK((stored[0].attended == 3 && stored[1].attended == 2 && stored[2].attended == 9));
  CHECK((holes[0].attended == 3 && holes[1].attended == 2 && holes[2].attended == 3 + 2 + 2));
  int sparse_layers = 0, in_the_first = 0;
  for (int layer = 0; layer < layers; ++layer)
    if (model->config().is_sparse(layer)) (layer == 0 ? in_the_first : sparse_layers)++;
  const int chosen = model->config().moe.experts_per_token;
  CHECK(stored[0].experts == (in_the_first + sparse_layers) * chosen);
  CHECK(stored[1].experts == in_the_first * chosen);

  // Plain decoding of rows that all leave after the first layer and are owed: three at most.
  const BuildContext context{.vocab = model->config().vocab_size};
  const auto drafter = Registry<Drafter>::instance().make(parse_yaml("none", "d"), context);
  const auto verifier = Registry<Verifier>::instance().make(parse_yaml("rejection", "v"), context);
  const auto length = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context);
  const auto target = make_model_target(
      model,
      {.rules = {
           .exits = {std::make_shared<Scripted>([](std::uint64_t, int) { return 1; }), {}, KvRule::Recompute, 3}}});
  const Generation out =
      Decoder(*target, {*drafter, *verifier, *length}).run(Request{.prompt = {1, 2}, .max_new_tokens = 8});
  std::vector<int> recomputed, passed;
  for (const RoundRecord& round : out.rounds) {
    REQUIRE(round.work);
    CHECK(round.work->left_early == 1);
    recomputed.push_back(round.work->recomputed);
    passed.push_back(static_cast<int>(round.work->layers));
  }
  CHECK(recomputed == std::vector<int>{0, 0, 0, 3, 0, 0, 0, 3});
  CHECK(passed == std::vector<int>{1, 1, 1, 3 + 3 * 2, 1, 1, 1, 3 + 3 * 2});
}

}  // namespace
}  // namespace foretell
