// The target drafting for itself with rows that leave early: whatever the draft leaves in a cache, what is emitted is
// the target's own.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <map>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/forward_rules.h"
#include "framework/decoding/model_target.h"
#include "framework/formats/safetensors.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

constexpr int kLayers = 5, kVocabulary = 97;

// Rows leave at all depths, by request and position, some not at all; says what it was told.
class SpreadExit final : public ExitPolicy {
 public:
  struct Options {
    int period = 6;
    void declare(Parameters& p) { p.add("period", period, "of the depths", {.min = 1, .max = 100}); }
  };
  SpreadExit(const Options& options, const BuildContext&) : period_(options.period) { records().clear(); }
  std::vector<int> layers(int num_layers) const override {
    std::vector<int> all;
    for (int layer = 1; layer < num_layers; ++layer) all.push_back(layer);
    return all;
  }
  ExitWants wants() const override { return {}; }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      const ExitRow& row = probe.rows[i];
      leaves[i] = 1 + (static_cast<int>(row.request) * 3 + row.position * 5) % period_ <= probe.layer ? 1 : 0;
    }
  }
  void observe(std::span<const ExitRecord> some) override {
    records().insert(records().end(), some.begin(), some.end());
  }
  static std::vector<ExitRecord>& records() {
    static std::vector<ExitRecord> all;
    return all;
  }

 private:
  int period_;
};
FORETELL_REGISTER(ExitPolicy, SpreadExit, "test_spread", {.summary = "for tests: rows leave at all depths"});

// Counts the layers that rows were computed in.
class CountingModel final : public LanguageModel {
 public:
  explicit CountingModel(std::shared_ptr<const LanguageModel> model) : model_(std::move(model)) {}
  const formats::ModelConfig& config() const override { return model_->config(); }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return model_->make_cache(capacity); }
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const override {
    ForwardOptions counting = options;
    counting.count_work = true;
    ForwardResult result = model_->forward(batch, counting);
    for (const RowWork& work : result.work) layer_rows += work.layers;
    return result;
  }
  at::Device device() const override { return model_->device(); }
  std::shared_ptr<const LanguageModel> quantised(const WeightRounding& to) const override {
    return model_->quantised(to);
  }
  const ModelParts* parts() const override { return model_->parts(); }
  mutable long layer_rows = 0;

 private:
  std::shared_ptr<const LanguageModel> model_;
};

struct SelfExitWorld {
  TemporaryFolder folder;
  std::shared_ptr<const LanguageModel> real = load_model(
      make_model(folder.path(), small_config("llama", R"("num_hidden_layers": 5, "max_position_embeddings": 64)"), 61));
  std::shared_ptr<CountingModel> model = std::make_shared<CountingModel>(real);

  static std::vector<Request> requests(int tokens) {
    std::vector<Request> out;
    for (std::uint64_t id = 0; id < 3; ++id) {
      Request request{.id = id, .max_new_tokens = tokens};
      for (int i = 0; i < 5 + static_cast<int>(id); ++i)
        request.prompt.push_back(static_cast<Token>((7 * i + 3 * static_cast<int>(id)) % 11));
      out.push_back(request);
    }
    return out;
  }
  std::vector<Generation> decoded(const std::string& drafter, int batch, const std::string& rules = "{}",
                                  int tokens = 40) const {
    BuildContext context{.vocab = kVocabulary, .target = model};
    const ForwardRules scoring = read_rules(parse_yaml(rules, "rules"), "pipeline.target", context);
    context.target_rules = &scoring;
    const auto target = make_model_target(model, {.prefill_chunk = 4, .rules = scoring});
    const auto drafts = Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context);
    const auto verifier = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), context);
    const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context);
    return Decoder(*target, {*drafts, *verifier, *policy}, {.max_batch = batch}).run(requests(tokens));
  }
};

std::vector<Tokens> texts_of(const std::vector<Generation>& all) {
  std::vector<Tokens> out;
  for (const Generation& one : all) out.push_back(one.tokens);
  return out;
}

long accepted_in(const std::vector<Generation>& all) {
  long out = 0;
  for (const Generation& one : all)
    for (const RoundRecord& round : one.rounds) out += round.accepted;
  return out;
}

TEST_CASE("drafts of the target whose rows leave early lose nothing, wherever their rows go", "[exits][self]") {
  const SelfExitWorld world;
  const std::vector<Tokens> plain = texts_of(world.decoded("none", 1));
  CHECK(std::ranges::any_of(plain, [](const Tokens& text) { return text.size() == 40; }));
  for (const char* kv : {"propagate", "copy", "hole", "recompute"})
    for (const char* cache : {"auto", "target", "own"})
      for (const char* more : {"", ", tree: {type: widths, widths: [2, 2, 1]}", ", heads: random"})
        for (const int batch : {1, 3}) {
          const bool tree = std::string(more).find("tree") != std::string::npos;
          if (tree && std::string(kv) == "recompute") continue;
          const std::string drafter =
              fmt::format("{{type: self, exit: test_spread, kv: {}, cache: {}{}}}", kv, cache, more);
          INFO(drafter << ", batch " << batch);
          const auto all = world.decoded(drafter, batch);
          CHECK(texts_of(all) == plain);
          CHECK(accepted_in(all) > 0);
        }
}

TEST_CASE("they lose nothing beside other drafters, under other rules and above rules of the target", "[exits][self]") {
  const SelfExitWorld world;
  const char* const early = "{type: self, exit: test_spread, num_speculative_tokens: 3}";
  for (const char* rules : {"{}", "{exit: {type: test_spread, period: 4}, kv: recompute}",
                            "{exit: {type: test_spread, period: 4}, kv: hole}", "{layers: {skip_mlp: [2]}}"}) {
    const std::vector<Tokens> plain = texts_of(world.decoded("none", 1, rules));
    for (const std::string& drafter :
         {std::string(early), fmt::format("{{type: first_of, drafters: [{{type: prompt_lookup}}, {}]}}", early),
          fmt::format("{{type: merged, drafters: [{}, {{type: self, exit: {{type: fixed_layer, layer: 2}}, "
                      "num_speculative_tokens: 2}}]}}",
                      early),
          std::string("{type: self, exit: test_spread, layers: {skip_mlp: [1]}}"),
          std::string("{type: self, exit: test_spread, int8: true, kv: copy}"),
          std::string("{type: self, exit: test_spread, attention: {type: streaming, sinks: 1, window: 3}}")})
      for (const int batch : {1, 3}) {
        INFO(rules << " " << drafter << ", batch " << batch);
        CHECK(texts_of(world.decoded(drafter, batch, rules)) == plain);
      }
  }
}

TEST_CASE("presets of self lose nothing, at batch 1 and 3, also behind rules of the target", "[exits][self]") {
  const SelfExitWorld world;
  const TemporaryFolder folder;
  const std::string sets = folder.write("sets.json", R"({"a": {"attention": [1, 3], "mlp": [2]}})").string();
  for (const char* rules : {"{}", "{exit: {type: fixed_layer, layer: 4}, kv: hole}"}) {
    const std::vector<Tokens> plain = texts_of(world.decoded("none", 1, rules));
    long accepted = 0;
    for (const std::string& drafter :
         {std::string("{type: layerskip, exit_layer: 2}"),
          std::string("{type: layerskip, heads: random, exit_layer: 3}"), std::string("draft_verify"),
          "{type: draft_verify, layers: {file: " + sets + ", set: a}}",
          std::string("{type: swift, skip_ratio: 0.4, context_window: 3, bayes_interval: 2}"),
          std::string("{type: swift, skip_ratio: 0.4, context_window: 4, search: evolution, cache: own}"),
          std::string("{type: free, layer: 2, threshold: 0.01, max_pending: 3}"),
          std::string("{type: del, gamma_max: 3}"),
          std::string("{type: del, layers: [2, 4], num_speculative_tokens: 2}"),
          std::string("{type: self, exit: {type: classifier, probe: random}}"),
          std::string("{type: self, exit: {type: specee, predictor: random}, kv: hole}")})
      for (const int batch : {1, 3}) {
        INFO(drafter << ' ' << rules << ' ' << batch);
        const std::vector<Generation> all = world.decoded(drafter, batch, rules);
        CHECK(texts_of(all) == plain);
        accepted += accepted_in(all);
      }
    CHECK(accepted > 0);
  }
}

TEST_CASE("presets of self and sets of sublayers say what they cannot do", "[exits][self]") {
  const SelfExitWorld world;
  const auto mistake = [&](const std::string& drafter) {
    try {
      world.decoded(drafter, 1);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(mistake("{type: layerskip, exit_layer: 5}"), Catch::Contains("layer 5") && Catch::Contains("5 layers"));
  CHECK_THAT(mistake("{type: del, layers: [5]}"), Catch::Contains("drafter:1: del: layers: expected increasing"));
  CHECK_THAT(mistake("{type: del, tree: {type: widths, widths: [2]}}"), Catch::Contains("expected a chain"));
  CHECK_THAT(mistake("{type: draft_verify, layers: {file: none.json}}"), Catch::Contains("'file' and 'set'"));
  CHECK_THAT(mistake("{type: draft_verify, layers: {file: none.json, set: a}}"), Catch::Contains("none.json"));
  CHECK_THAT(mistake("{type: swift, skip_ratio: 2}"), Catch::Contains("drafter:1") && Catch::Contains("skip_ratio"));
  const TemporaryFolder folder;
  NewTensor weight{
      "shared.weight", StoredType::F32, {3}, [](std::span<std::byte> out) { std::ranges::fill(out, std::byte{0}); }};
  NewTensor bias{"shared.bias", StoredType::F32, {1}, weight.fill};
  write_safetensors(folder.path() / "probe.safetensors", std::vector{weight, bias});
  CHECK_THAT(
      mistake("{type: self, exit: {type: classifier, probe: " + (folder.path() / "probe.safetensors").string() + "}}"),
      Catch::Contains("trained on states of 3"));
}

TEST_CASE("on the target's cache no layer of a row is computed twice", "[exits][self]") {
  const SelfExitWorld world;
  const auto cost_of = [&](const std::string& drafter, std::vector<Generation>& all) {
    world.model->layer_rows = 0;
    all = world.decoded(drafter, 3);
    long rows = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      rows += static_cast<long>(SelfExitWorld::requests(40)[i].prompt.size()) - 1;
      for (const RoundRecord& round : all[i].rounds) rows += round.scored;
    }
    return std::pair(world.model->layer_rows, kLayers * rows);
  };
  std::vector<Generation> all;
  const auto [once, scored] = cost_of("{type: self, exit: {type: fixed_layer, layer: 2}}", all);
  CHECK(once == scored);
  const auto [twice, again] = cost_of("{type: self, exit: {type: fixed_layer, layer: 2}, cache: own}", all);
  CHECK(twice > again);
}

TEST_CASE("a policy is told how its rows left, and whether verification agreed", "[exits][self]") {
  const SelfExitWorld world;
  for (const char* cache : {"target", "own"}) {
    const auto all =
        world.decoded(fmt::format("{{type: self, exit: test_spread, num_speculative_tokens: 3, cache: {}}}", cache), 3);
    long right = 0, wrong = 0, left = 0;
    for (const ExitRecord& record : SpreadExit::records()) {
      left += record.agreed ? 0 : 1;
      if (!record.agreed) continue;
      (*record.agreed ? right : wrong) += 1;
      CHECK((record.layer >= 1 && record.layer <= kLayers));
      const Request request = SelfExitWorld::requests(40)[record.row.request];
      const Generation& answer = all[record.row.request];
      CHECK(record.row.position < static_cast<int>(request.prompt.size() + answer.tokens.size()));
      CHECK(record.row.position == static_cast<int>(request.prompt.size()) - 1 + record.row.generated);
    }
    long rejected = 0;
    for (const Generation& one : all)
      for (const RoundRecord& round : one.rounds) rejected += round.accepted < round.drafted ? 1 : 0;
    CHECK(right == accepted_in(all));
    CHECK(wrong == rejected);
    CHECK(right + wrong <= left);
    CHECK((right > 0 && wrong > 0));
  }
}

TEST_CASE("rows that are not answered never leave", "[exits]") {
  const SelfExitWorld world;
  SpreadExit policy({.period = 1}, {});
  const ExitRules rules{&policy};
  ForwardOptions options;
  options.exits = &rules;
  const Tokens tokens{1, 2, 3, 4};
  for (const LogitRows rows : {LogitRows::None, LogitRows::Last, LogitRows::All}) {
    const auto cache = world.real->make_cache(8);
    const ForwardResult result = world.real->forward({TokenSpan(tokens), ChainShape{}, cache.get(), rows}, options);
    const int last = rows == LogitRows::None ? kLayers : 1, others = rows == LogitRows::All ? 1 : kLayers;
    CHECK((result.left == std::vector<int>{others, others, others, last}));
  }
}

TEST_CASE("what cannot be said of a draft that leaves early is one line with its place", "[exits][self]") {
  const SelfExitWorld world;
  const auto mistake = [&](const std::string& drafter, const std::string& rules = "{}") -> std::string {
    try {
      world.decoded(drafter, 1, rules);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK_THAT(mistake("{type: self, exit: {type: fixed_layer, layer: 5}}"), Catch::Contains("drafter:1: layer 5"));
  CHECK_THAT(mistake("{type: self, kv: copy}"), Catch::Contains("drafter:1: drafter 'self': kv says nothing"));
  CHECK_THAT(mistake("{type: self, heads: random}"), Catch::Contains("heads says nothing"));
  CHECK_THAT(mistake("{type: self, exit: margin, kv: recompute, tree: {type: widths, widths: [2]}}"),
             Catch::Contains("drafter:1: self: kv: recompute computes rows in the order of a text"));
  CHECK_THAT(mistake("{type: self, exit: margin, heads: /nowhere}"),
             Catch::Contains("drafter:1: ") && Catch::Contains("/nowhere"));
  CHECK_THAT(mistake("{type: self, exit: margin, kv: hole, attention: streaming}"),
             Catch::Contains("kv: hole does not go with an attention policy"));
  CHECK_THAT(mistake("{type: sparse_cache, cache: target}", "{exit: test_spread, kv: hole}"),
             Catch::Contains("drafter:1: sparse_cache: an attention policy chooses among all positions"));
}

}  // namespace
}  // namespace foretell::testing
