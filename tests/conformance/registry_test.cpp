// The conformance suite: every registered drafter with every registered lossless verifier.
#include "experiments/certify/certificate.h"
#include "experiments/certify/checks.h"
#include "experiments/certify/draft_cases.h"
#include "experiments/certify/real_model.h"
#include "framework/api/verifier.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

struct Variant {
  std::string drafter;
  const char* tree = "";
};

struct Form {
  const char* drafter;
  const char* tree;
};

constexpr Form kForms[] = {
    {"{type: model, num_speculative_tokens: 9}", ""},
    {"{type: model, draft_sample_method: top_k}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: model}", "{type: widths, widths: [3, 2, 2]}"},
    {"{type: model, replacement: true}", "{type: widths, widths: [3, 2]}"},
    {"{type: model, temperature: 0.7}", "{type: widths, widths: [2, 2]}"},
    {"{type: prompt_lookup, match: last, whole_continuation: false, num_speculative_tokens: 5}", ""},
    {"{type: merged, drafters: [{type: model, num_speculative_tokens: 3}, {type: model, model: other, "
     "num_speculative_tokens: 5}, "
     "{type: prompt_lookup, whole_continuation: false, num_speculative_tokens: 4}]}",
     ""},
    {"{type: merged, drafters: [{type: model}, {type: model, model: other, draft_sample_method: top_k}]}",
     "{type: widths, widths: [2, 2]}"},
    {"{type: merged, drafters: [{type: model, draft_sample_method: top_k, tree: {type: widths, widths: [2, 2]}}, "
     "{type: model, model: other, tree: none, num_speculative_tokens: 5}]}",
     "{type: widths, widths: [3]}"},
    {"{type: first_of, drafters: [{type: prompt_lookup, whole_continuation: false}, {type: model, tree: {type: widths, "
     "widths: [2, 1]}}]}",
     ""},
    {"{type: hybrid, copying: {type: prompt_lookup, whole_continuation: false}, model: {type: model, tree: {type: "
     "widths, widths: [3, 1]}}, threshold: 2}",
     ""},
    {"{type: cascade, model: other, drafter: {type: model, tree: {type: widths, widths: [2, 2]}}, "
     "num_speculative_tokens: 5}",
     ""},
    {"{type: universal, method: text, num_speculative_tokens: 6}", ""},
    {"{type: universal, num_speculative_tokens: 6}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: first_of, drafters: [{type: prompt_lookup, whole_continuation: false}, {type: model}]}", ""},
    {"{type: first_of, min_expected: 3, drafters: [{type: prompt_lookup, whole_continuation: false}, {type: model}]}",
     "{type: widths, widths: [2, 2]}"},
    {"{type: hybrid, copying: {type: prompt_lookup, whole_continuation: false}, model: {type: model}, threshold: 2}",
     ""},
    {"{type: cascade, model: other, drafter: {type: model}, num_speculative_tokens: 5}", ""},
    {"{type: cascade, drafter: {type: cascade, model: other, num_speculative_tokens: 3}, num_speculative_tokens: 6}",
     ""},
    {"{type: suffix_automaton, alpha: 0.5, climb: false}", ""},
    {"{type: suffix_decoding, global: false, max_spec_factor: 3}", ""},
    {"{type: suffix_decoding, mode: tree, max_spec_factor: 4, max_cached_tokens: 50}", ""},
    {"{type: ngram_cache, min_counts: [1, 1, 1, 1], max_cached_pairs: 40}", ""},
    {"{type: ngram_mod, ngram_size: 2, log2_entries: 4}", ""},
    {"{type: rest, draft: chain, shortest_match: 1}", ""},
    {"{type: rest, longest_match: 3, max_occurrences: 2, num_nodes: 7, num_speculative_tokens: 4}", ""},
    {"{type: lookahead, window: 3, ngram: 3, guess_set_size: 2, pool_from_prompt: false}", ""},
    {"{type: lookahead, window: 1, ngram: 2, guess_set_size: 1}", ""},
    {"{type: token_recycling, top_k: 3, num_nodes: 9, rank_acceptance: [0.5, 0.2, 0.1]}", ""},
    {"{type: token_recycling, top_k: 1, num_nodes: 3}", ""},
    {"{type: ant_trie, num_nodes: 5, branch_length: 3, max_output_nodes: 8}", ""},
    {"{type: ant_trie, draft: chain, match_length: 4}", ""},
    {"{type: merged, drafters: [{type: model, num_speculative_tokens: 2}, {type: lookahead, window: 3, ngram: 3, "
     "guess_set_size: 2}]}",
     ""},
    {"{type: quantised_self, num_speculative_tokens: 6, cache: own}", ""},
    {"{type: quantised_self, draft_sample_method: top_k}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: qspec, num_speculative_tokens: 4}", ""},
    {"{type: qspec, weights: int8}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: cascade, drafter: {type: quantised_self, cache: own}}", ""},
    {"{type: sparse_cache, attention: {type: streaming, sinks: 1, window: 2}}", ""},
    {"{type: sparse_cache, attention: {type: streaming, sinks: 0, window: 3}, cache: own, num_speculative_tokens: 6}",
     ""},
    {"{type: sparse_cache, attention: {type: streaming, sinks: 1, window: 3}}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: sparse_cache, attention: {type: h2o, heavy_hitters: 2, window: 2}}", "{type: widths, widths: [2, 2]}"},
    {"{type: merged, drafters: [{type: sparse_cache, attention: {type: streaming, window: 2}}, {type: sparse_cache, "
     "attention: h2o}]}",
     ""},
    {"{type: cascade, drafter: {type: sparse_cache, cache: own, attention: {type: streaming, window: 2}}}", ""},
    {"{type: self, int8: true, attention: {type: streaming, sinks: 1, window: 2}}", ""},
    {"{type: self, layers: {skip_attention: [1, 3], skip_mlp: [0]}, num_speculative_tokens: 6}", ""},
    {"{type: self, layers: {skip: [2]}, cache: own}", "{type: widths, widths: [3, 2, 1]}"},
    {"{type: cascade, drafter: {type: self, cache: own, layers: {skip_mlp: [1]}}}", ""},
    {"{type: merged, drafters: [{type: self, layers: {skip: [3]}}, {type: self, int8: true}]}", ""},
    {"{type: oracle, acceptance_rates: [0.9, 0.5, 0.2], num_speculative_tokens: 6}", ""},
    {"{type: merged, drafters: [{type: medusa, head: random}, {type: model, num_speculative_tokens: 3}]}",
     "{type: widths, widths: [2, 1]}"},
    {"{type: first_of, drafters: [{type: prompt_lookup, whole_continuation: false}, {type: medusa, head: random}]}",
     ""},
};

// Made of drafters that have to be named: it has no defaults.
bool is_composition(const Registry<Drafter>::Entry& entry) {
  const auto parameters = entry.parameters();
  return std::any_of(parameters.begin(), parameters.end(), [](const ParameterDoc& p) { return p.name == "drafters"; });
}

// Every registered drafter with its defaults, if it has any, and the forms that a draft can take.
std::vector<Variant> variants() {
  std::vector<Variant> out;
  for (const auto& [name, entry] : Registry<Drafter>::instance().entries())
    if (!is_composition(entry)) out.push_back({default_form(name)});
  for (const Form& form : kForms) out.push_back({form.drafter, form.tree});
  return out;
}

std::vector<std::string> lossless_verifiers() {
  std::vector<std::string> out;
  for (const auto& [name, entry] : Registry<Verifier>::instance().entries())
    if (entry.info.lossless.value_or(false)) out.push_back(name);
  return out;
}

std::vector<Setup> setups(const std::shared_ptr<const ToyModel>& target, std::vector<std::string>& names) {
  std::vector<Setup> out;
  for (const Variant& variant : variants()) {
    const auto on = [&](std::shared_ptr<const KnownModel> model, bool) {
      return toy_setup(variant.drafter, "rejection", variant.tree, std::move(model));
    };
    const auto world =
        builds_on_toys(on) ? std::static_pointer_cast<const KnownModel>(target) : real_target_for(on, 48);
    for (const std::string& verifier : lossless_verifiers()) {
      Setup setup = toy_setup(variant.drafter, verifier, variant.tree, world);
      if (incompatibility(setup, 0.0)) continue;
      out.push_back(std::move(setup));
      names.push_back(verifier + " x " + variant.drafter + " " + variant.tree);
    }
  }
  return out;
}

// Two strategies of a kind with one name elsewhere: a message could suggest either.
template <class Interface>
void check_other_names() {
  const auto& entries = Registry<Interface>::instance().entries();
  for (const auto& [name, entry] : entries)
    for (const std::string& other : entry.info.also_known_as) {
      INFO(Registry<Interface>::kind() << " '" << name << "' is also known as " << other);
      CHECK(Registry<Interface>::instance().unknown(other).find("(did you mean '" + name + "'?)") != std::string::npos);
      for (const auto& [second, its] : entries) {
        if (second == name) continue;
        CHECK_FALSE(same_name(other, second));
        for (const std::string& its_other : its.info.also_known_as) CHECK_FALSE(same_name(other, its_other));
      }
    }
}

TEST_CASE("a name from a paper or another program leads to one strategy of its kind", "[conformance]") {
  check_other_names<Drafter>();
  check_other_names<Verifier>();
  check_other_names<DraftPolicy>();
  check_other_names<TreePolicy>();
  check_other_names<AttentionPolicy>();
}

TEST_CASE("temperature 0: every drafter with every lossless verifier emits the greedy text", "[conformance]") {
  for (const int context : {4096, 48}) {
    std::vector<std::string> names;
    const auto all = setups(toy_target(11, context), names);
    REQUIRE(!all.empty());
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO(names[i] << ", context " << context);
      const Complaint complaint = check_identity(all[i]);
      INFO(complaint.value_or(""));
      CHECK(!complaint);
    }
  }
}

TEST_CASE("what comes out does not depend on batch size or on the order of the requests", "[conformance]") {
  std::vector<std::string> names;
  const auto all = setups(toy_target(11), names);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].depends_on_the_run)
      continue;  // such a strategy promises the distribution and the greedy text, not the same draws
    std::vector<Request> requests;
    for (std::uint64_t id = 0; id < 5; ++id) {
      Request request{.id = id,
                      .prompt = {static_cast<Token>(id), 2, 3, 2, 3},
                      .max_new_tokens = 30 + static_cast<int>(id),
                      .seed = 5};
      request.sampling.temperature = incompatibility(all[i], 0.8) ? 0.0 : 0.8;
      requests.push_back(request);
    }
    const auto one = run(all[i], requests);
    const auto three = run(all[i], requests, {.batch = 3});
    std::vector<Request> reversed(requests.rbegin(), requests.rend());
    const auto backwards = run(all[i], reversed, {.batch = 2});
    for (std::size_t r = 0; r < requests.size(); ++r) {
      INFO(names[i] << ", request " << r);
      CHECK(one[r].tokens == three[r].tokens);
      CHECK(one[r].tokens == backwards[requests.size() - 1 - r].tokens);
      CHECK(one[r].rounds.size() == three[r].rounds.size());
    }
  }
}

}  // namespace
}  // namespace foretell::testing
