// All learned heads that draft step by step: drafts follow from the committed text alone, lose nothing, and their files
// are found and refused alike. What a head computes is in the tests by its name.
#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/decoding/bases/head_source.h"
#include "framework/decoding/heads/feature_source.h"
#include "framework/decoding/heads/path_source.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/heads/hydra_heads.h"
#include "framework/model/heads/mlp_speculator.h"
#include "framework/model/heads/prediction_head.h"
#include "framework/model/heads/redrafter_head.h"
#include "tests/drafters/head_recomputation.h"
#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using namespace certify;

template <class Source, class Head>
std::unique_ptr<bases::LevelSource> source_on(Head head) {
  return std::make_unique<Source>(std::make_shared<Head>(std::move(head)));
}

struct HeadKind {
  std::string drafter;  // without the end of its section
  std::function<std::unique_ptr<bases::LevelSource>()> source;
};

std::vector<HeadKind> head_kinds() {
  const auto target = [] { return real_target(); };
  return {
      {"{type: eagle, head: random, seed: 7",
       [=] { return source_on<decoding::heads::FeatureSource>(EagleHead::random(7, target())); }},
      {"{type: eagle3, head: random, seed: 7",
       [=] { return source_on<decoding::heads::FeatureSource>(Eagle3Head::random(7, target())); }},
      {"{type: mtp, head: random, seed: 7",
       [=] { return source_on<decoding::heads::FeatureSource>(PredictionHead::random(7, target())); }},
      {"{type: medusa, head: random, seed: 7, num_heads: 3, draft_sample_method: sample",
       [=] { return std::make_unique<HeadSource>(MedusaHeads::random(3, 1, 7, target())); }},
      {"{type: hydra, head: random, seed: 7, num_heads: 3, draft_sample_method: sample",
       [=] {
         return source_on<decoding::heads::PathSource>(HydraHeads::random({3, 1, false}, 7, target()));
       }},
      {"{type: hydra, head: random, seed: 7, num_heads: 3, num_layers: 2, prefix: true, draft_sample_method: sample",
       [=] {
         return source_on<decoding::heads::PathSource>(HydraHeads::random({3, 2, true}, 7, target()));
       }},
      {"{type: mlp_speculator, head: random, seed: 7, n_predict: 3",
       [=] { return source_on<decoding::heads::PathSource>(MlpSpeculator::random(3, 7, target())); }},
      {"{type: redrafter, head: random, seed: 7, draft_sample_method: sample",
       [=] { return source_on<decoding::heads::PathSource>(RedrafterHead::random(7, target())); }},
  };
}

TEST_CASE("what a learned head drafts is a full recomputation from the committed text, in chains, trees and batches",
          "[heads]") {
  for (const HeadKind& kind : head_kinds()) {
    INFO(kind.drafter);
    const std::string chain = kind.drafter + ", tree: none, num_speculative_tokens: 2}", tree = kind.drafter + "}";
    const Recomputed alone = recompute(chain, "", 1, kind.source, real_target());
    CHECK(alone.worst < 1e-4);
    CHECK(alone.none > 3);
    CHECK(alone.some > 3);
    CHECK(alone.whole > 3);
    CHECK(alone.empty >= 1);  // the prompt of one token has no state yet
    const Recomputed in_batches = recompute(tree, "{type: widths, widths: [3, 2, 1]}", 3, kind.source, real_target());
    CHECK(in_batches.worst < 1e-4);
    CHECK(in_batches.some > 3);
    CHECK(in_batches.levels > 100);
  }
}

TEST_CASE("drafts of learned heads lose nothing in trees, drawn and chosen", "[heads]") {
  for (const std::string head :
       {"{type: eagle2, head: random", "{type: eagle3, head: random", "{type: hydra, head: random, num_heads: 2",
        "{type: hydra, head: random, num_heads: 2, prefix: true", "{type: mlp_speculator, head: random, n_predict: 2",
        "{type: redrafter, head: random"}) {
    for (const auto& [drafter, tree] : std::vector<std::pair<std::string, const char*>>{
             {head + ", draft_sample_method: sample}", "{type: widths, widths: [2, 1]}"},
             {head + ", draft_sample_method: top_k}", "{type: eagle2, top_k: 2, depth: 2, total_tokens: 4}"}}) {
      INFO(drafter << " " << tree);
      const Setup setup = toy_setup(drafter, "rejection", tree, real_target());
      const ExactFindings found = enumerate(setup, {.prompt = {1, 2, 1, 0}, .tokens = 3, .top_k = 2});
      CHECK(complaint_of(found).value_or("") == "");
      CHECK(found.exercise.accepted > 0);
      CHECK(found.exercise.rejected > 0);
      CHECK(check_real(setup, {.horizon = 24}).value_or("") == "");
    }
  }
}

TEST_CASE("a drafter without its head says what it expects, at its line", "[heads]") {
  const auto make = [](const std::string& yaml, std::shared_ptr<const KnownModel> target) {
    return toy_setup(yaml, "rejection", "", std::move(target)).drafter();
  };
  for (const std::string type : {"eagle", "eagle2", "eagle3", "hydra", "mlp_speculator", "redrafter"}) {
    INFO(type);
    CHECK_THROWS_WITH(make(type, real_target()),
                      Catch::Contains("drafter '" + type + "' needs a head: expected head: FOLDER, or head: random"));
    CHECK_THROWS_WITH(make("{type: " + type + ", head: random}", toy_target()),
                      Catch::Contains("it needs a model as target"));
    CHECK_THROWS_WITH(make("{type: " + type + ", head: nowhere}", real_target()), Catch::Contains("nowhere"));
    CHECK(!make("{type: " + type + ", head: random}", real_target())->traits().rewinds);
  }
  CHECK(make("{type: eagle2, head: random}", real_target())->form().tree);
  CHECK(make("{type: eagle2, head: random}", real_target())->limits().nodes == 59);
  CHECK(!make("{type: eagle2, head: random, tree: none}", real_target())->form().tree);
  CHECK(make("{type: eagle3, head: random}", real_target())->limits().depth == 4);
  CHECK(make("{type: redrafter, head: random}", real_target())->limits().nodes == 39);
  CHECK_THROWS_WITH(make("{type: hydra, head: random, num_heads: 2, num_speculative_tokens: 3}", real_target()),
                    Catch::Contains("num_speculative_tokens is 3, this drafter has 2 levels"));
}

}  // namespace
}  // namespace foretell::testing
