// Drafters that run models, by themselves: what their proposals claim, and what a cascade asks of its inner drafter.
#include "experiments/certify/toy_pipeline.h"
#include "tests/drafters/helpers.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

struct Toys {
  std::shared_ptr<const ToyModel> target = toy_target(5), draft = toy_draft(target), inner = toy_draft(draft, 5);
};

std::unique_ptr<Drafter> make_drafter(const Toys& toys, const std::string& yaml, const std::string& tree = "") {
  BuildContext context;
  context.vocab = 5;
  context.draft_model = "draft";
  context.load_model = [=](const std::string& path) -> std::shared_ptr<const LanguageModel> {
    return path == "inner" ? toys.inner : toys.draft;
  };
  if (!tree.empty()) context.tree = parse_yaml(tree, "tree");
  return Registry<Drafter>::instance().make(parse_yaml(yaml, "drafter"), context);
}

std::unique_ptr<Drafter> cascade(const Toys& toys, int tokens) {
  return make_drafter(toys,
                      fmt::format("{{type: cascade, num_speculative_tokens: {}, drafter: {{type: model, model: inner, "
                                  "num_speculative_tokens: 4}}}}",
                                  tokens));
}

DraftTree draft_with(Drafter& drafter, const Tokens& prompt, double temperature, std::uint64_t seed) {
  const Request request{.prompt = prompt, .max_new_tokens = 20};
  const Sampler sampler({.temperature = temperature}, 5);
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), BuildContext());
  PhiloxRng rng({.seed = seed});
  drafter.begin(0, {request, prompt});
  const DraftContext context{0, request, sampler, prompt, drafter.limits(), rng, *policy, nullptr, 5};
  DraftTree draft = std::move(drafter.draft(std::span(&context, 1)).front());
  drafter.end(0);
  return draft;
}

Distribution distribution_after(const ToyModel& model, Tokens text, const Tokens& path, double temperature) {
  text.insert(text.end(), path.begin(), path.end());
  return Distribution::dense(reference_distribution(model, text, temperature));
}

TEST_CASE("a cascade's tokens stand with the draft model's distribution at their own place") {
  const Toys toys;
  const auto drafter = cascade(toys, 6);
  const Tokens prompt{1, 2, 3, 1};
  int apart = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const DraftTree draft = draft_with(*drafter, prompt, 0.8, seed);
    REQUIRE(draft.is_chain());
    REQUIRE(draft.depth() == 6);
    Distribution before = Distribution::point_mass(5, 0);
    for (NodeId node = 0; node < 6; ++node) {
      const Distribution expected = distribution_after(*toys.draft, prompt, draft.path(node), 0.8);
      const Distribution& claimed = draft.distribution(draft.proposals(node).front().distribution).q;
      CHECK(overlap(claimed, expected) == Approx(1).margin(1e-6));
      apart += overlap(before, expected) < 0.9;
      before = expected;
    }
  }
  CHECK(apart > 50);  // neighbours differ, or this would show nothing
}

TEST_CASE("merged drafts keep for each token the distribution that it was drawn from") {
  const Toys toys;
  const Tokens prompt{1, 2, 3, 1};
  const auto merged =
      make_drafter(toys,
                   "{type: merged, drafters: [{type: model, num_speculative_tokens: 3}, {type: model, model: inner, "
                   "num_speculative_tokens: 3}]}");
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const DraftTree draft = draft_with(*merged, prompt, 1.0, seed);
    CHECK(draft.proposals(kAnchor).size() == 2);
    for (NodeId node = 0; node < draft.size(); ++node) {
      for (const Proposal& proposal : draft.proposals(node)) {
        const Distribution& claimed = draft.distribution(proposal.distribution).q;
        const double first = overlap(claimed, distribution_after(*toys.draft, prompt, draft.path(node), 1.0)),
                     second = overlap(claimed, distribution_after(*toys.inner, prompt, draft.path(node), 1.0));
        CHECK(std::max(first, second) == Approx(1).margin(1e-6));
      }
    }
  }
}

TEST_CASE("a draft says how its siblings were drawn") {
  const Toys toys;
  const auto kind_of = [&](const std::string& options, double temperature) {
    const auto drafter = make_drafter(toys, "{type: model" + options + "}", "{type: widths, widths: [2, 2]}");
    const DraftTree draft = draft_with(*drafter, {1, 2, 3, 1}, temperature, 3);
    REQUIRE(draft.proposals(kAnchor).size() == 2);
    return draft.distribution(draft.proposals(kAnchor).front().distribution).kind;
  };
  CHECK(kind_of("", 1.0) == Draws::WithoutReplacement);
  CHECK(kind_of(", replacement: true", 1.0) == Draws::IndependentDraws);
  CHECK(kind_of(", draft_sample_method: top_k", 1.0) == Draws::PointMass);
  CHECK(kind_of("", 0.0) == Draws::PointMass);
}

TEST_CASE("a drafter's own tree stands in place of the pipeline's, each member's for itself") {
  const Toys toys;
  const std::string wide = "{type: widths, widths: [3, 1]}";
  const auto shape_of = [&](const std::string& drafter) {
    const auto made = make_drafter(toys, drafter, wide);
    return draft_with(*made, {1, 2, 3, 1}, 0.0, 1);
  };
  CHECK(shape_of("{type: model}").size() == 1 + 3 + 3);
  CHECK(shape_of("{type: model, tree: ~}").size() == 1 + 3 + 3);
  CHECK(shape_of("{type: model, tree: {type: widths, widths: [2, 2]}}").size() == 1 + 2 + 4);
  CHECK(shape_of("{type: model, tree: none, num_speculative_tokens: 6}").is_chain());
  CHECK(shape_of("{type: model, tree: none, num_speculative_tokens: 6}").depth() == 6);
  CHECK_FALSE(make_drafter(toys, "{type: model, tree: none}", wide)->form().tree);

  const auto merged = shape_of(
      "{type: merged, drafters: [{type: model, tree: {type: widths, widths: [2]}}, {type: model, model: inner, tree: "
      "none, num_speculative_tokens: 4}]}");
  CHECK(merged.depth() == 4);  // the chain's
  CHECK(merged.proposals(kAnchor).size() == 3);
  // Where a member names none it has the pipeline's.
  CHECK(shape_of("{type: merged, drafters: [{type: model}, {type: model, model: inner, tree: none}]}")
            .proposals(kAnchor)
            .size() == 4);
}

TEST_CASE("a tree is refused where it cannot be used, with its place") {
  const Toys toys;
  const auto mistake = [&](const std::string& drafter) -> std::string {
    try {
      make_drafter(toys, drafter);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const char* drafter :
       {"{type: prompt_lookup,\n tree: {type: widths, widths: [2]}}",
        "{type: cascade,\n tree: {type: widths, widths: [2]}}",
        "{type: merged, drafters: [{type: model}, {type: prompt_lookup,\n tree: {type: widths, widths: [2]}}]}"}) {
    INFO(mistake(drafter));
    CHECK(mistake(drafter).find("drafter:2: ") == 0);
    CHECK(mistake(drafter).find("'tree'") != std::string::npos);
  }
  CHECK(mistake("{type: model,\n tree: {type: widhts}}").find("drafter:2: unknown tree 'widhts'") == 0);
}

TEST_CASE("a draft goes on from what was committed, whatever was drafted before") {
  const Toys toys;
  const auto drafter = make_drafter(toys, "{type: model, num_speculative_tokens: 4}");
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), BuildContext());
  const Sampler sampler({.temperature = 0.0}, 5);
  const Request request{.prompt = {1, 2, 3, 1}, .max_new_tokens = 40};
  Tokens text = request.prompt;
  drafter->begin(0, {request, text});
  for (int round = 0; round < 6; ++round) {
    PhiloxRng rng({});
    const DraftContext context{0, request, sampler, text, drafter->limits(), rng, *policy, nullptr, 5};
    const Tokens drafted = chain_of(drafter->draft(std::span(&context, 1)).front());
    INFO("round " << round);
    CHECK(drafted == reference_greedy(*toys.draft, {.prompt = text, .max_new_tokens = 4}));
    // Of the draft `round % 4` tokens are accepted; then comes another one than was drafted.
    const auto accepted = static_cast<std::size_t>(round % 4);
    text.insert(text.end(), drafted.begin(), drafted.begin() + static_cast<std::ptrdiff_t>(accepted));
    text.push_back((drafted[accepted] + 1) % 5);
    // Within a cascade what was committed may be taken back, and other tokens come in its place.
    if (round == 3) text = {1, 2, 3, 1, (text[4] + 1) % 5, text[5]};
  }
  drafter->end(0);
}

TEST_CASE("a cascade's greedy draft is the draft model's greedy text") {
  const Toys toys;
  const Tokens prompt{1, 2, 3, 1};
  const DraftTree draft = draft_with(*cascade(toys, 6), prompt, 0.0, 1);
  CHECK(chain_of(draft) == reference_greedy(*toys.draft, {.prompt = prompt, .max_new_tokens = 6}));
}

TEST_CASE("a cascade asks its inner drafter for no more than it can use") {
  const Toys toys;
  const Tokens prompt{1, 2, 3, 1};
  CHECK(draft_with(*cascade(toys, 1), prompt, 0.0, 1).depth() == 1);
  CHECK(toys.inner->rows() == 0);  // the one token is the draft model's own
  CHECK(draft_with(*cascade(toys, 2), prompt, 0.0, 1).depth() == 2);
  CHECK(toys.inner->rows() == static_cast<long>(prompt.size()));  // its prompt gives the one token that is of use
}

}  // namespace
}  // namespace foretell::testing
