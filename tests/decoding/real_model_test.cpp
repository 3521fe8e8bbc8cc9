// The loop on a real transformer with random weights: every way of speculating emits what plain decoding emits.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "framework/api/build_context.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "tests/support/catch.h"
#include "tests/support/self_drafter.h"

namespace foretell {
namespace {

std::shared_ptr<const LanguageModel> random_llama(int layers, std::uint64_t seed) {
  const auto folder =
      std::filesystem::temp_directory_path() / fmt::format("foretell_decode_{}_{}_{}", ::getpid(), layers, seed);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "in.json") << fmt::format(
      R"({{"model_type": "llama", "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": {}, "num_attention_heads": 4,
           "num_key_value_heads": 2, "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "torch_dtype": "float32"}})",
      layers);
  make_random(folder / "in.json", folder / "model", seed);
  auto model = load_model(folder / "model");
  std::filesystem::remove_all(folder);
  return model;
}

struct Fixture {
  std::shared_ptr<const LanguageModel> target = random_llama(4, 1);
  std::shared_ptr<const LanguageModel> draft = target;  // a draft that agrees: long accepted paths; random ones below

  std::unique_ptr<Drafter> make(const std::string& yaml, const std::string& tree = "") const {
    BuildContext context;
    context.vocab = target->config().vocab_size;
    context.target = target;
    context.draft_model = "draft";
    context.load_model = [this](const std::string&) { return draft; };
    if (!tree.empty()) context.tree = parse_yaml(tree, "tree");
    return Registry<Drafter>::instance().make(parse_yaml(yaml, "drafter"), context);
  }

  std::vector<Request> requests(const SamplingOptions& sampling = {}) const {
    std::vector<Request> out;
    for (std::uint64_t id = 0; id < 3; ++id) {
      Request request{.id = id, .max_new_tokens = 40 + 7 * static_cast<int>(id), .sampling = sampling, .seed = 11};
      for (int i = 0; i < 9 + static_cast<int>(id); ++i) request.prompt.push_back((i * 13 + static_cast<int>(id)) % 29);
      out.push_back(request);
    }
    out.back().max_new_tokens = 1000;  // to the end of the context
    return out;
  }

  std::vector<Generation> run(Drafter& drafter, int batch, const SamplingOptions& sampling = {}) const {
    const BuildContext context;
    const auto verifier = Registry<Verifier>::instance().make(parse_yaml("rejection", "v"), context);
    const auto policy = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context);
    const auto loop_target = make_model_target(target, {.prefill_chunk = 5});
    return Decoder(*loop_target, {drafter, *verifier, *policy}, {.max_batch = batch}).run(requests(sampling));
  }

  void check_same(Drafter& drafter, const SamplingOptions& sampling = {}) const {
    const auto plain = run(*make("none"), 1, sampling);
    for (const int batch : {1, 3}) {
      const auto got = run(drafter, batch, sampling);
      for (std::size_t i = 0; i < plain.size(); ++i) {
        INFO("batch " << batch << ", request " << i);
        CHECK(got[i].tokens == plain[i].tokens);
        CHECK(got[i].finish == plain[i].finish);
      }
    }
  }
};

TEST_CASE("speculation on a transformer emits the plain greedy text", "[real]") {
  Fixture f;
  CHECK(f.run(*f.make("none"), 1).back().finish == FinishReason::Context);
  for (const bool same : {true, false}) {
    if (!same) f.draft = random_llama(2, 5);
    f.check_same(*f.make("{type: model, num_speculative_tokens: 5}"));
    f.check_same(*f.make("{type: model, draft_sample_method: top_k}", "{type: widths, widths: [3, 2, 1]}"));
  }
  f.check_same(*f.make("{type: prompt_lookup, whole_continuation: false}"));
}

TEST_CASE("a draft that is the target is accepted whole", "[real]") {
  Fixture f;
  for (const Generation& g : f.run(*f.make("{type: model, num_speculative_tokens: 4}"), 1))
    for (std::size_t i = 0; i + 1 < g.rounds.size(); ++i) CHECK(g.rounds[i].emitted == 5);
  // At temperature 1 too: p = q accepts everything.
  SamplingOptions sampling{.temperature = 1.0};
  for (const Generation& g : f.run(*f.make("{type: model, num_speculative_tokens: 4}"), 3, sampling))
    for (std::size_t i = 0; i + 1 < g.rounds.size(); ++i) CHECK(g.rounds[i].emitted == 5);
}

TEST_CASE("the transformer's own first layers draft for it", "[real]") {
  Fixture f;
  using testing::SelfDraftOptions;
  for (const SelfDraftOptions& options :
       {SelfDraftOptions{.layers = 1}, SelfDraftOptions{.layers = 3, .extra = true}, SelfDraftOptions{.layers = 4},
        SelfDraftOptions{.layers = 1, .spread = true, .extra = true},
        SelfDraftOptions{.layers = 1, .spread = true, .deepening = true},
        SelfDraftOptions{.layers = 2, .deepening = true}, SelfDraftOptions{.layers = 2, .unnamed = true},
        SelfDraftOptions{.skip_middle = true},
        SelfDraftOptions{.layers = 2,
        .extra = true,
        .wants = {.aux_states = {0, 2, 3, 4}, .final_state = true},
        .tokens_in_taps = false}})
    f.check_same(*testing::make_self_drafter(f.target, options));
}

TEST_CASE("the transformer drafts for itself with a part of its cache in sight", "[real]") {
  Fixture f;
  for (const char* attention : {"{type: streaming, sinks: 1, window: 4}, cache: own",
                                "{type: streaming, sinks: 1, window: 4}", "{type: h2o, heavy_hitters: 3, window: 3}"}) {
    INFO(attention);
    f.check_same(*f.make(fmt::format("{{type: sparse_cache, attention: {}, num_speculative_tokens: 5}}", attention)));
    f.check_same(
        *f.make(fmt::format("{{type: sparse_cache, attention: {}}}", attention), "{type: widths, widths: [3, 2, 1]}"));
  }
  f.check_same(*f.make("{type: sparse_cache, attention: {type: streaming, window: 5}}",
                       "{type: eagle2, depth: 3, top_k: 3, total_tokens: 6}"));
}

TEST_CASE("a draft that sees the whole cache is accepted whole, on the target's cache and on its own", "[real]") {
  Fixture f;
  for (const char* cache : {"target", "own"})
    for (const double temperature : {0.0, 1.0})
      for (const Generation& g :
           f.run(*f.make(fmt::format("{{type: sparse_cache, cache: {}, num_speculative_tokens: 4}}", cache)), 3,
                 {.temperature = temperature}))
        for (std::size_t i = 0; i + 1 < g.rounds.size(); ++i) CHECK(g.rounds[i].emitted == 5);
  for (const Generation& g :
       f.run(*f.make("{type: sparse_cache, attention: {type: h2o, heavy_hitters: 200}, num_speculative_tokens: 4}"), 1))
    for (std::size_t i = 0; i + 1 < g.rounds.size(); ++i) CHECK(g.rounds[i].emitted == 5);
}

TEST_CASE("drafters that borrow the target's cache in turn, and one with its own beside them", "[real]") {
  Fixture f;
  f.check_same(*f.make(
      "{type: merged, drafters: [{type: sparse_cache, attention: {type: streaming, window: 3}}, {type: sparse_cache, "
      "attention: {type: streaming, window: 30}}, {type: sparse_cache, attention: h2o}]}"));
}

TEST_CASE("the transformer drafts for itself with sublayers left out", "[real]") {
  Fixture f;
  for (const char* rules : {"layers: {skip_attention: [1, 2], skip_mlp: [3]}", "layers: {skip: [2]}, cache: own",
                            "layers: {skip_mlp: [0]}, int8: true, attention: {type: streaming, sinks: 1, window: 4}"}) {
    INFO(rules);
    f.check_same(*f.make(fmt::format("{{type: self, {}, num_speculative_tokens: 5}}", rules)));
    f.check_same(*f.make(fmt::format("{{type: self, {}}}", rules), "{type: widths, widths: [3, 2, 1]}"));
    f.check_same(
        *f.make(fmt::format("{{type: self, {}}}", rules), "{type: eagle2, depth: 3, top_k: 3, total_tokens: 6}"));
  }
}

TEST_CASE("presets of self draft what it drafts", "[real]") {
  Fixture f;
  const std::pair<const char*, const char*> pairs[] = {
      {"{type: quantised_self}", "{type: self, int8: true}"},
      {"{type: quantised_self, cache: own, num_speculative_tokens: 6}",
       "{type: self, int8: true, cache: own, num_speculative_tokens: 6}"},
      {"{type: qspec, weights: int4:8}", "{type: self, weights: int4:8}"},
      {"{type: sparse_cache, attention: {type: streaming, sinks: 1, window: 4}}",
       "{type: self, attention: {type: streaming, sinks: 1, window: 4}}"},
      {"{type: sparse_cache, attention: {type: h2o, heavy_hitters: 3, window: 3}}",
       "{type: self, attention: {type: h2o, heavy_hitters: 3, window: 3}}"}};
  for (const auto& [preset, self] : pairs)
    for (const double temperature : {0.0, 1.0}) {
      INFO(preset << " " << temperature);
      const auto a = f.run(*f.make(preset), 3, {.temperature = temperature}),
                 b = f.run(*f.make(self), 3, {.temperature = temperature});
      for (std::size_t i = 0; i < a.size(); ++i) {
        CHECK(a[i].tokens == b[i].tokens);
        CHECK(a[i].rounds.size() == b[i].rounds.size());
      }
    }
}

TEST_CASE("what self cannot do is refused in one line", "[real]") {
  Fixture f;
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(f.make("{type: self, router: top_k}"),
                    Contains("drafter:1: drafter 'self': router: this model has no experts"));
  CHECK_THROWS_WITH(f.make("{type: self, layers: {skip: [9]}}"), Contains("drafter:1") && Contains("no layer 9"));
  CHECK_THROWS_WITH(f.make("{type: self, cache: target, int8: true}", "{type: eagle2}"),
                    Contains("self: the tree grows"));
  CHECK_THROWS_WITH(f.make("{type: cascade, drafter: {type: self}}"), Contains("take back"));
  const BuildContext replay{.vocab = 97};
  CHECK_THROWS_WITH(
      Registry<Drafter>::instance().make(parse_yaml("{type: self}", "study.yaml"), replay),
      Contains("study.yaml:1: drafter 'self' drafts with the target's own weights") && Contains("recorded answer"));
}

TEST_CASE("what sparse_cache cannot do is refused in one line", "[real]") {
  Fixture f;
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(f.make("{type: sparse_cache, cache: target, attention: {type: h2o}}"),
                    Contains("drafter:1") && Contains("cache: own"));
  CHECK_THROWS_WITH(f.make("{type: sparse_cache, cache: target}", "{type: eagle2}"),
                    Contains("drafter:1") && Contains("cache: own"));
  CHECK_THROWS_WITH(f.make("{type: sparse_cache, attention: {type: streaming, sinks: -1}}"),
                    Contains("drafter:1") && Contains("from 0"));
  CHECK_THROWS_WITH(f.make("{type: sparse_cache, attention: {type: snapkv}}"),
                    Contains("drafter:1") && Contains("streaming"));
  CHECK_THROWS_WITH(f.make("{type: cascade, drafter: {type: sparse_cache}}"),
                    Contains("drafter:1") && Contains("take back"));
  const BuildContext replay{.vocab = 97};
  CHECK_THROWS_WITH(Registry<Drafter>::instance().make(parse_yaml("{type: sparse_cache}", "study.yaml"), replay),
                    Contains("study.yaml:1") && Contains("recorded answer"));
}

TEST_CASE("the transformer drafts for itself with int8 weights", "[real]") {
  Fixture f;
  using Catch::Matchers::Contains;
  std::size_t tokens = 0, rounds = 0;
  for (const char* cache : {"target", "own"}) {
    INFO(cache);
    f.check_same(*f.make(fmt::format("{{type: quantised_self, cache: {}, num_speculative_tokens: 5}}", cache)));
    f.check_same(
        *f.make(fmt::format("{{type: quantised_self, cache: {}}}", cache), "{type: widths, widths: [3, 2, 1]}"));
    for (const Generation& g :
         f.run(*f.make(fmt::format("{{type: quantised_self, cache: {}, num_speculative_tokens: 4}}", cache)), 3)) {
      tokens += g.tokens.size();
      rounds += g.rounds.size();
    }
  }
  CHECK(static_cast<double>(tokens) > 3.5 * static_cast<double>(rounds));  // its own weights but for the rounding
  f.check_same(*f.make("{type: quantised_self}", "{type: eagle2, depth: 3, top_k: 3, total_tokens: 6}"));
  f.check_same(
      *f.make("{type: merged, drafters: [{type: quantised_self}, {type: sparse_cache, attention: {type: streaming, "
              "window: 3}}]}"));
  CHECK_THROWS_WITH(f.make("{type: quantised_self, cache: target}", "{type: eagle2}"),
                    Contains("drafter:1") && Contains("cache: own"));
  CHECK_THROWS_WITH(f.make("{type: cascade, drafter: {type: quantised_self}}"),
                    Contains("drafter:1") && Contains("take back"));
  const BuildContext replay{.vocab = 97};
  CHECK_THROWS_WITH(Registry<Drafter>::instance().make(parse_yaml("{type: quantised_self}", "study.yaml"), replay),
                    Contains("study.yaml:1") && Contains("recorded answer"));
}

TEST_CASE("penalties and bias follow each drafted path", "[real]") {
  Fixture f;
  SamplingOptions sampling{.temperature = 0, .repetition_penalty = 1.3, .presence_penalty = 0.4};
  sampling.logit_bias = {"7:1.5", "3:-20"};
  const auto penalised = f.run(*f.make("none"), 1, sampling);
  CHECK(penalised[0].tokens != f.run(*f.make("none"), 1)[0].tokens);
  CHECK(std::find(penalised[0].tokens.begin(), penalised[0].tokens.end(), 3) == penalised[0].tokens.end());
  f.check_same(*f.make("{type: model, num_speculative_tokens: 5}"), sampling);
  f.check_same(*f.make("{type: model, draft_sample_method: top_k}", "{type: widths, widths: [2, 2]}"), sampling);
}

}  // namespace
}  // namespace foretell
