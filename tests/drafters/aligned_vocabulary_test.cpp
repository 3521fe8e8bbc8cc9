// A draft whose vocabulary is the target's with more or less padding behind it.
#include "framework/decoding/aligned_vocabulary.h"

#include <ATen/core/Tensor.h>

#include <cmath>

#include "experiments/certify/checks.h"
#include "experiments/certify/toy_pipeline.h"
#include "experiments/certify/toy_tokenizer.h"
#include "framework/core/error.h"
#include "framework/core/registry.h"
#include "framework/decoding/model_target.h"
#include "framework/model/language_model.h"
#include "framework/tokenizers/map_vocabularies.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using namespace certify;
using Catch::Matchers::Contains;

std::shared_ptr<const ToyModel> toy(int vocab, std::uint64_t seed) {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = vocab, .seed = seed});
}

// A target of `vocab` ids beside a draft of `draft_vocab`, of which both tokenizers have `shared`; none: there is no
// tokenizer that says so.
Setup padded_setup(const std::string& drafter, int vocab, int draft_vocab, std::optional<int> shared,
                   const std::string& tree = "") {
  Setup setup;
  setup.model = toy(vocab, 7);
  const auto context = [=, target = setup.model] {
    BuildContext out;
    out.vocab = vocab;
    out.target = target;
    out.draft_model = "toy";
    out.load_model = [draft_vocab](const std::string&) { return toy(draft_vocab, 99); };
    out.shared_ids = [shared](const std::string&) {
      return shared ? std::optional(SharedIds{.count = *shared}) : std::nullopt;
    };
    if (!tree.empty()) out.tree = parse_yaml(tree, "tree");
    return out;
  };
  setup.target = [target = setup.model] { return make_model_target(target); };
  setup.drafter = [=] { return Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context()); };
  setup.verifier = [=] { return Registry<Verifier>::instance().make(parse_yaml("rejection", "verifier"), context()); };
  setup.policy = [=] { return Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "policy"), context()); };
  return setup;
}

struct Sizes {
  int target, draft, shared;
};
const std::vector<Sizes> kSizes = {{5, 4, 3}, {4, 6, 3}, {4, 4, 4}, {5, 3, 3}, {3, 5, 3}};

TEST_CASE("a padded draft changes nothing: greedy tokens are the target's and sampled ones have its distribution") {
  for (const Sizes& sizes : kSizes) {
    for (const char* drafter :
         {"{type: model, num_speculative_tokens: 2}",
          "{type: model, num_speculative_tokens: 2, draft_sample_method: top_k}",
          "{type: cascade, num_speculative_tokens: 2, drafter: {type: model, num_speculative_tokens: 1}}"}) {
      INFO(sizes.target << " against " << sizes.draft << ", " << sizes.shared << " shared: " << drafter);
      const Setup setup = padded_setup(drafter, sizes.target, sizes.draft, sizes.shared);
      CHECK(check_identity(setup).value_or("") == "");
      CHECK(complaint_of(enumerate(setup, {.prompt = {1, 2, 1}, .tokens = 2})).value_or("") == "");
    }
    const Setup tree =
        padded_setup("{type: model}", sizes.target, sizes.draft, sizes.shared, "{type: widths, widths: [2, 1]}");
    CHECK(check_identity(tree).value_or("") == "");
  }
}

TEST_CASE("ids that the tokenizer has not are never drafted, and the rest keeps its distribution") {
  const auto small = toy(4, 99);
  for (const int vocab : {3, 4, 7}) {
    const auto model = with_aligned_vocabulary(small, vocab, 3);
    CHECK(model->config().vocab_size == vocab);
    const auto cache = model->make_cache(8);
    const Tokens text = {1, 2, 0, 2};
    const at::Tensor logits =
        model->forward({TokenSpan(text), ChainShape{}, cache.get(), LogitRows::Last}).logits.contiguous();
    const std::vector<float> own = small->logits_after(text);
    REQUIRE(logits.size(1) == vocab);
    for (int id = 0; id < vocab; ++id) {
      const float value = logits.const_data_ptr<float>()[id];
      CHECK(value == (id < 3 ? own[static_cast<std::size_t>(id)] : -std::numeric_limits<float>::infinity()));
    }
  }
  // What the target drew from its own padding is read as token 0.
  const auto model = with_aligned_vocabulary(small, 7, 3);
  const auto cache = model->make_cache(8);
  const Tokens beyond = {1, 6, 2}, read = {1, 0, 2};
  const at::Tensor logits =
      model->forward({TokenSpan(beyond), ChainShape{}, cache.get(), LogitRows::Last}).logits.contiguous();
  CHECK(logits.const_data_ptr<float>()[1] == small->logits_after(read)[1]);
}

TEST_CASE("vocabularies of two sizes are padding only if one tokenizer begins as the other") {
  CHECK(shared_ids(*toy_target_tokenizer(5), *toy_target_tokenizer(5)).count == 5);
  CHECK(shared_ids(*toy_target_tokenizer(5), *toy_target_tokenizer(3)).count == 3);
  CHECK(shared_ids(*toy_target_tokenizer(5), *toy_target_tokenizer(3)).agree());
  CHECK_THROWS_WITH(padded_setup("{type: model}", 5, 4, std::nullopt).drafter(),
                    Contains("a vocabulary of 4 tokens, the target has 5") && Contains("one and the same tokenizer") &&
                        Contains("universal"));
}

TEST_CASE("another tokenizer is refused whatever the sizes of the vocabularies, and its first other id is named") {
  const SharedIds other = shared_ids(*toy_target_tokenizer(5), *toy_draft_tokenizer(5));
  CHECK((other.count == 5 && other.different == 1 && other.first == 4 && other.in_target == "e" &&
         other.in_draft == "ab"));
  CHECK_FALSE(other.agree());
  for (const int draft : {4, 5, 6})
    CHECK_THROWS_WITH(in_target_ids(toy(draft, 1), 5, other, "draft/x"),
                      Contains("draft/x has another tokenizer") &&
                          Contains("1 of 5 ids differ, first 4, which is 'e'") && Contains("'ab'") &&
                          Contains("universal"));
  const auto same = toy(5, 1), longer = toy(6, 1);
  CHECK(in_target_ids(same, 5, std::nullopt, "") == same);
  CHECK(in_target_ids(same, 5, SharedIds{.count = 4}, "") == same);
  CHECK(in_target_ids(longer, 5, SharedIds{.count = 4}, "")->config().vocab_size == 5);
}

TEST_CASE("a few special tokens of another name leave it the same tokenizer: one id in a hundred") {
  CHECK(SharedIds{.count = 128256, .different = 1282}.agree());
  CHECK_FALSE(SharedIds{.count = 128256, .different = 1283}.agree());
  CHECK_FALSE(SharedIds{.count = 0, .different = 0}.agree());
}

}  // namespace
}  // namespace foretell
