// Rules of a forward as YAML, and a target that is scored under them.
#include <ATen/core/Tensor.h>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/forward_rules.h"
#include "framework/decoding/model_target.h"
#include "framework/model/transformer.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

struct Models {
  TemporaryFolder dense_folder, sparse_folder;
  std::shared_ptr<const LanguageModel> dense = load_model(make_model(dense_folder.path(), small_config("llama"), 51));
  std::shared_ptr<const LanguageModel> sparse =
      load_model(make_model(sparse_folder.path(), small_config("mixtral"), 52));
};

ForwardRules rules(const std::string& yaml, const std::shared_ptr<const LanguageModel>& model) {
  return read_rules(parse_yaml(yaml, "study.yaml"), "pipeline.target", {.vocab = 97, .target = model});
}

std::string mistake(const std::string& yaml, const std::shared_ptr<const LanguageModel>& model) {
  try {
    rules(yaml, model);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<Request> requests() {
  std::mt19937 random(53);
  std::vector<Request> out;
  for (int i = 0; i < 3; ++i)
    out.push_back(
        {.id = static_cast<std::uint64_t>(i), .prompt = random_tokens(6 + i, 97, random), .max_new_tokens = 20});
  return out;
}

std::vector<Tokens> decoded(const std::shared_ptr<const LanguageModel>& model, const ForwardRules& rules,
                            const std::string& drafter, int batch) {
  const BuildContext context{.vocab = 97, .target = model, .target_rules = &rules};
  const auto target = make_model_target(model, {.prefill_chunk = 4, .rules = rules});
  const auto drafts = Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context);
  const auto verifier = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context);
  Decoder decoder(*target, {*drafts, *verifier, *policy}, {.max_batch = batch});
  std::vector<Tokens> out;
  for (const Generation& generation : decoder.run(requests())) out.push_back(generation.tokens);
  return out;
}

// Token by token: the prompt but its last token as the checkpoint reads it, everything behind under the rules.
Tokens by_hand(const LanguageModel& model, const ForwardRules& rules, const Request& request) {
  const auto cache = model.make_cache(64);
  const auto attention = rules.attention ? rules.attention->fresh() : nullptr;
  Tokens text = request.prompt, out;
  model.forward(ForwardItem{TokenSpan(text).first(text.size() - 1), ChainShape{}, cache.get(), LogitRows::None,
                            ItemAttention{attention.get(), true}});
  ForwardOptions options;
  rules.apply(options);
  const LanguageModel& scoring = rules.rounded ? *rules.rounded : model;
  while (static_cast<int>(out.size()) < request.max_new_tokens) {
    const ForwardItem item{TokenSpan(text).last(1), ChainShape{}, cache.get(), LogitRows::All,
                           ItemAttention{attention.get(), false}};
    const Token next = best_token(scoring.forward(item, options).logits[0]);
    out.push_back(next);
    text.push_back(next);
  }
  return out;
}

TEST_CASE("a target under rules decodes what its rules say, drafted or not, alone or in a batch") {
  const Models models;
  const std::pair<std::string, std::shared_ptr<const LanguageModel>> cases[] = {
      {"{layers: {skip_attention: [1], skip_mlp: [2]}}", models.dense},
      {"{layers: {skip: [1]}}", models.sparse},
      {"{int8: true}", models.dense},
      {"{weights: int4:8}", models.dense},
      {"{weights: int4z:8}", models.sparse},
      {"{router: {type: top_k, k: 1}}", models.sparse},
      {"{router: {type: top_k, k: 3, renormalise: false}, layers: {skip_attention: [0]}}", models.sparse},
  };
  for (const auto& [yaml, model] : cases) {
    INFO(yaml);
    const ForwardRules under = rules(yaml, model);
    CHECK_FALSE(under.own());
    CHECK(under.row_independent());
    std::vector<Tokens> want;
    for (const Request& request : requests()) want.push_back(by_hand(*model, under, request));
    CHECK(want != decoded(model, {}, "none", 1));
    for (const char* drafter : {"none", "prompt_lookup", "{type: token_recycling, top_k: 2}", "quantised_self",
                                "{type: qspec, weights: int4:8}", "{type: self, layers: {skip_mlp: [1]}}"})
      for (const int batch : {1, 3}) {
        INFO(drafter << " " << batch);
        CHECK(decoded(model, under, drafter, batch) == want);
      }
  }
}

TEST_CASE("under an attention policy plain decoding sees what the policy leaves, and drafts lose it") {
  const Models models;
  for (const char* yaml : {"{attention: {type: streaming, sinks: 1, window: 3}}",
                           "{attention: {type: h2o, heavy_hitters: 2, window: 2}}"}) {
    INFO(yaml);
    const ForwardRules under = rules(yaml, models.dense);
    CHECK_FALSE(under.row_independent());
    std::vector<Tokens> want;
    for (const Request& request : requests()) want.push_back(by_hand(*models.dense, under, request));
    CHECK(want != decoded(models.dense, {}, "none", 1));
    for (const int batch : {1, 3}) CHECK(decoded(models.dense, under, "none", batch) == want);
  }
}

TEST_CASE("a mixture of experts drafts for itself with fewer experts") {
  const Models models;
  const std::vector<Tokens> plain = decoded(models.sparse, {}, "none", 1);
  const ForwardRules ruled = rules("{router: {type: top_k, k: 1}}", models.sparse);
  for (const char* drafter : {"{type: self, router: {type: top_k, k: 1}}",
                              "{type: self, router: {type: top_k, k: 1}, cache: own, layers: {skip: [1]}}",
                              "fewer_experts", "{type: fewer_experts, k: 1, cache: own, num_speculative_tokens: 3}"})
    for (const int batch : {1, 3}) {
      INFO(drafter << " " << batch);
      CHECK(decoded(models.sparse, {}, drafter, batch) == plain);
      CHECK(decoded(models.sparse, ruled, drafter, batch) == decoded(models.sparse, ruled, "none", 1));
    }
}

TEST_CASE("rules that change nothing are the checkpoint's") {
  const Models models;
  for (const char* yaml : {"~", "{}", "{int8: false}", "{router: ~, layers: ~}", "{layers: {skip: []}}"})
    CHECK(rules(yaml, models.dense).own());
  CHECK(decoded(models.sparse, rules("{router: top_k}", models.sparse), "none", 3) ==
        decoded(models.sparse, {}, "none", 3));
}

TEST_CASE("an int8 cache goes with every rule: drafted or not, alone or in a batch") {
  const Models models;
  const auto model = dynamic_cast<const Transformer&>(*models.dense).with_cache(true);
  for (const char* yaml :
       {"{}", "{attention: {type: streaming, sinks: 1, window: 3}}", "{layers: {skip_attention: [1]}}",
        "{weights: int4:8}", "{exit: {type: max_probability, threshold: 0.1}, kv: propagate}",
        "{exit: {type: fixed_layer, layer: 2}, kv: copy}", "{exit: {type: margin, threshold: 0.01}, kv: recompute}",
        "{exit: {type: margin, threshold: 0.01}, kv: hole}"}) {
    INFO(yaml);
    const ForwardRules under = rules(yaml, model);
    const std::vector<Tokens> want = decoded(model, under, "none", 1);
    CHECK(decoded(model, under, "none", 3) == want);
    if (!under.row_independent()) continue;
    for (const char* drafter : {"prompt_lookup", "{type: qspec, weights: int4:8}", "{type: self, exit: margin}",
                                "{type: sparse_cache, attention: {type: streaming, window: 4}}",
                                "{type: sparse_cache, attention: {type: h2o, heavy_hitters: 2, window: 2}}"})
      for (const int batch : {1, 3}) {
        INFO(drafter << " " << batch);
        CHECK(decoded(model, under, drafter, batch) == want);
      }
  }
}

TEST_CASE("a rule that the model lacks is one line at its place") {
  const Models models;
  CHECK(mistake("router: top_k", models.dense) ==
        "study.yaml:1: pipeline.target: router: this model has no experts; expected a mixture of experts");
  CHECK(mistake("int8: false\nrouter: {type: top_k, k: 6}", models.sparse) ==
        "study.yaml:2: pipeline.target: router 'top_k' does not fit this model: k: 6 of 5 experts");
  CHECK_THAT(mistake("router: topk", models.sparse), Catch::Contains("did you mean 'top_k'?"));
  CHECK(mistake("layers:\n  skip_mlp: [0, 3]", models.dense) ==
        "study.yaml:2: pipeline.target: skip_mlp: there is no layer 3; expected 0 to 2");
  CHECK_THAT(mistake("layers: {skip: [-1]}", models.dense), Catch::Contains("there is no layer -1"));
  CHECK_THAT(mistake("layers: {skip: [0, 1, 2]}", models.dense), Catch::Contains("none would be left"));
  CHECK_THAT(mistake("layers: {first: 2}", models.dense), Catch::Contains("unknown key") && Catch::Contains("first"));
  CHECK_THAT(mistake("attentoin: h2o", models.dense), Catch::Contains("did you mean 'attention'?"));
  CHECK_THAT(mistake("attention: h3o", models.dense), Catch::Contains("did you mean 'h2o'?"));
  CHECK_THAT(mistake("fast", models.dense), Catch::Contains("study.yaml:1"));
  CHECK_THAT(mistake("int8: true", nullptr), Catch::Contains("a model as target, not a recorded answer"));
  CHECK(mistake("int8: false", nullptr).empty());
  CHECK_THAT(mistake("weights: int4", nullptr), Catch::Contains("a model as target, not a recorded answer"));
  CHECK_THAT(mistake("weights: int5", models.dense),
             Catch::Contains("study.yaml:1") && Catch::Contains("'int5'") && Catch::Contains("int4[:GROUP]"));
  CHECK_THAT(mistake("weights: int4:12", models.dense),
             Catch::Contains("study.yaml:1") && Catch::Contains("a multiple of 8"));
  CHECK_THAT(mistake("weights: int4:512", models.dense),
             Catch::Contains("study.yaml:1") && Catch::Contains("groups of 512 do not divide"));
  CHECK_THAT(mistake("int8: true\nweights: int4", models.dense), Catch::Contains("expected one of them"));
}

TEST_CASE("rules of early exit are read and checked") {
  Models models;
  const ForwardRules under =
      rules("{exit: {type: fixed_layer, layer: 2}, kv: recompute, max_pending: 5}", models.dense);
  CHECK((under.exits.policy && under.exits.kv == KvRule::Recompute && under.exits.max_pending == 5));
  CHECK((!under.own() && under.row_independent()));
  CHECK((rules("{exit: margin}", models.dense).exits.kv == KvRule::Propagate));
  using Catch::Matchers::Contains;
  CHECK_THAT(mistake("{exit: {type: fixed_layer, layer: 9}}", models.dense),
             Contains("study.yaml:1") && Contains("layer 9"));
  CHECK_THAT(mistake("{exit: {type: margn}}", models.dense), Contains("study.yaml:1") && Contains("margin"));
  CHECK_THAT(mistake("{exit: margin, kv: keep}", models.dense), Contains("study.yaml:1") && Contains("propagate"));
  CHECK_THAT(mistake("{kv: copy}", models.dense), Contains("study.yaml:1") && Contains("expected exit"));
  CHECK_THAT(mistake("{exit: margin, kv: hole, attention: streaming}", models.dense),
             Contains("study.yaml:1") && Contains("attention"));
}

}  // namespace
}  // namespace foretell::testing
