#include "experiments/certify/draft_cases.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>

#include "framework/api/attention_policy.h"
#include "framework/api/drafter.h"
#include "framework/core/registry_names.h"

namespace foretell::certify {
namespace {

// Budgets cut every draft to the tokens that are left, less one: the same form is two, four or six tokens deep.
const std::vector<DraftCase>& model_forms() {
  const char* const narrow = "{type: static, paths: [[0], [1], [0, 0], [1, 0], [0, 0, 0], [0, 0, 0, 0]]}";
  const char* const wide = "{type: widths, widths: [2, 2, 1, 1, 1, 1]}";
  static const std::vector<DraftCase> all = {
      {.name = "chain", .drafter = "{type: model, num_speculative_tokens: 6}"},
      {.name = "chain, another temperature", .drafter = "{type: model, num_speculative_tokens: 6, temperature: 0.6}"},
      {.name = "one token", .drafter = "{type: model, num_speculative_tokens: 1}"},
      {.name = "tree, chosen",
       .drafter = "{type: model, draft_sample_method: top_k}",
       .tree = wide,
       .deep_tree = narrow,
       .vocab = 3,
       .many_branches = true},
      {.name = "tree, without replacement",
       .drafter = "{type: model}",
       .tree = wide,
       .deep_tree = narrow,
       .many_branches = true},
      {.name = "tree, with replacement",
       .drafter = "{type: model, replacement: true}",
       .tree = "{type: widths, widths: [2, 1, 1, 1, 1, 1]}",
       .deep_tree = narrow,
       .many_branches = true},
      // Three draws of a draft like the target cover it so well that the best of verifiers rejects none: the other one
      // is too sure of itself.
      {.name = "three draws, without replacement",
       .drafter = "{type: model}",
       .deep_drafter = "{type: model, temperature: 0.25}",
       .tree = "{type: widths, widths: [3]}",
       .vocab = 5,
       .many_branches = true},
      {.name = "three draws, with replacement",
       .drafter = "{type: model, replacement: true}",
       .deep_drafter = "{type: model, replacement: true, temperature: 0.25}",
       .tree = "{type: widths, widths: [3]}",
       .vocab = 5,
       .many_branches = true},
  };
  return all;
}

// Drafters whose defaults say little: those made of drafters, those that look at more text than an answer that can be
// enumerated has, and those that take long to build.
const std::map<std::string, std::vector<DraftCase>>& made_forms() {
  static const std::map<std::string, std::vector<DraftCase>> all = {
      {"model", model_forms()},
      // Proposals at one node from several distributions, drawn and chosen.
      {"merged",
       {{.name = "two models, merged",
         .drafter = "{type: merged, drafters: [{type: model, replacement: true, num_speculative_tokens: 6}, "
                    "{type: model, model: other, replacement: true, num_speculative_tokens: 1}]}",
         .many_branches = true},
        {.name = "drawn and chosen, merged",
         .drafter = "{type: merged, drafters: [{type: model, num_speculative_tokens: 1}, {type: model, "
                    "draft_sample_method: top_k, "
                    "num_speculative_tokens: 6}]}",
         .many_branches = true},
        {.name = "a tree and a chain, merged",
         .drafter = "{type: merged, drafters: [{type: model, draft_sample_method: top_k, tree: {type: widths, "
                    "widths: [2, 1]}}, {type: model, model: other, num_speculative_tokens: 6}]}",
         .many_branches = true}}},
      {"first_of",
       {{.name = "first_of: copies, then a model",
         .drafter =
             "{type: first_of, drafters: [{type: prompt_lookup, whole_continuation: false, prompt_lookup_min: 3}, "
             "{type: model, num_speculative_tokens: 6}]}",
         .vocab = 3}}},  // texts of two tokens have every three of them before
      {"hybrid",
       {{.name = "hybrid",
         .drafter = "{type: hybrid, threshold: 1, model: {type: model, num_speculative_tokens: 6}}"}}},
      {"cascade",
       {{.name = "cascade of two models",
         .drafter = "{type: cascade, model: other, drafter: {type: model, num_speculative_tokens: 3}, "
                    "num_speculative_tokens: 6}",
         .many_branches = true}}},
      {"universal",
       {{.name = "universal: shared tokens", .drafter = "{type: universal, num_speculative_tokens: 6}", .vocab = 3},
        {.name = "universal: text",
         .drafter = "{type: universal, method: text, num_speculative_tokens: 6}",
         .vocab = 3}}},
      {"self",
       {{.name = "self: int8", .drafter = "{type: self, num_speculative_tokens: 6, int8: true}"},
        {.name = "self: fewer sublayers",
         .drafter = "{type: self, num_speculative_tokens: 6, layers: {skip_attention: [3], skip_mlp: [1, 2]}}"},
        {.name = "self: a tree with a layer left out",
         .drafter = "{type: self, layers: {skip: [3]}}",
         .tree = "{type: widths, widths: [2, 2, 1, 1, 1, 1]}",
         .deep_tree = "{type: static, paths: [[0], [1], [0, 0], [1, 0], [0, 0, 0], [0, 0, 0, 0]]}",
         .many_branches = true},
        // Thresholds at which some rows of a random transformer leave early and some do not: a row that goes deeper
        // than the one that it follows cannot be taken on by scoring.
        {.name = "self: early exit",
         .drafter = "{type: self, num_speculative_tokens: 6, exit: {type: margin, threshold: 0.02}}"},
        {.name = "self: a tree with early exit",
         .drafter = "{type: self, exit: {type: margin, threshold: 0.02}, kv: hole, heads: random}",
         .tree = "{type: widths, widths: [2, 2, 1, 1, 1, 1]}",
         .deep_tree = "{type: static, paths: [[0], [1], [0, 0], [1, 0], [0, 0, 0], [0, 0, 0, 0]]}",
         .many_branches = true}}},
      {"qspec", {{.name = "qspec", .drafter = "{type: qspec, num_speculative_tokens: 6, weights: int4:8}"}}},
      {"layerskip",
       {{.name = "layerskip: after two layers",
         .drafter = "{type: layerskip, num_speculative_tokens: 6, exit_layer: 2}"}}},
      {"draft_verify",
       {{.name = "draft_verify: half of the layers", .drafter = "{type: draft_verify, num_speculative_tokens: 6}"}}},
      // A window as short as that, so that sets are tried within the first answer.
      {"swift",
       {{.name = "swift: sets are searched for",
         .drafter =
             "{type: swift, num_speculative_tokens: 6, skip_ratio: 0.5, context_window: 1, bayes_interval: 3}"}}},
      {"free", {{.name = "free", .drafter = "{type: free, num_speculative_tokens: 6, layer: 2, threshold: 0.02}"}}},
      {"del", {{.name = "del", .drafter = "{type: del, gamma_max: 6}"}}},
      {"sparse_cache",
       {{.name = "sparse_cache: streaming",
         .drafter =
             "{type: sparse_cache, num_speculative_tokens: 6, attention: {type: streaming, sinks: 1, window: 1}}"},
        {.name = "sparse_cache: h2o",
         .drafter =
             "{type: sparse_cache, num_speculative_tokens: 6, attention: {type: h2o, heavy_hitters: 1, window: 1}}"}}},
      {"hydra",
       {{.name = "hydra", .drafter = "{type: hydra, head: random}"},
        {.name = "hydra++", .drafter = "{type: hydra, head: random, prefix: true}"}}},
      {"ngram_mod", {{.name = "ngram_mod", .drafter = "{type: ngram_mod, ngram_size: 2, log2_entries: 8}"}}},
      {"rest", {{.name = "rest", .drafter = "{type: rest, longest_match: 2, shortest_match: 1}"}}},
      // As many successors as there are tokens would be all of them, and no draft be rejected.
      {"token_recycling", {{.name = "token_recycling", .drafter = "{type: token_recycling, top_k: 2}", .vocab = 3}}},
      {"lookahead", {{.name = "lookahead", .drafter = "{type: lookahead, window: 2, ngram: 5, guess_set_size: 2}"}}},
  };
  return all;
}

// Heads whose own tree has more outcomes than can be enumerated get a small one of its kind.
constexpr std::array<std::string_view, 2> kOwnTrees = {"eagle2", "redrafter"};
constexpr const char* kSmallTree = ", tree: {type: eagle2, top_k: 8, depth: 2, total_tokens: 12}";

bool is_trained(const Registry<Drafter>::Entry& entry) {
  const auto parameters = entry.parameters();
  return std::any_of(parameters.begin(), parameters.end(), [](const auto& p) { return p.name == "head"; });
}

constexpr std::array<std::string_view, 4> kLeaders = {"eagle", "medusa", "quantised_self", "sparse_cache"};

bool follows_another(const std::string& drafter) {
  const auto& entry = Registry<Drafter>::instance().entries().at(drafter);
  return (is_trained(entry) || !entry.info.preset_of.empty()) && std::ranges::find(kLeaders, drafter) == kLeaders.end();
}

}  // namespace

std::span<const std::string_view> leading_drafters() { return kLeaders; }

std::string default_form(const std::string& drafter) {
  const bool trained = is_trained(Registry<Drafter>::instance().entries().at(drafter));
  const bool own_tree = std::ranges::find(kOwnTrees, drafter) != kOwnTrees.end();
  return trained ? "{type: " + drafter + ", head: random" + (own_tree ? kSmallTree : "") + "}" : drafter;
}

std::vector<DraftCase> draft_cases(const std::string& drafter) {
  std::vector<DraftCase> all;
  for (const std::string& name : names_of<Drafter>(drafter)) {
    const auto made = made_forms().find(name);
    if (made == made_forms().end())
      all.push_back({.name = name, .drafter = default_form(name)});
    else  // what a model drafts is what the others are laid beside
      all.insert(name == "model" ? all.begin() : all.end(), made->second.begin(), made->second.end());
    if (!follows_another(name)) continue;
    const std::size_t forms = made == made_forms().end() ? 1 : made->second.size();
    for (DraftCase& draft : std::span(all).last(forms)) draft.follows_another = true;
  }
  return all;
}

std::vector<DraftCase> attention_cases(const std::string& attention) {
  const auto of = [](const std::string& name, const std::string& described) {
    return DraftCase{.name = "sparse_cache: " + name,
                     .drafter = "{type: sparse_cache, num_speculative_tokens: 6, attention: " + described + "}"};
  };
  const auto& registry = Registry<AttentionPolicy>::instance();
  ConfigValue description = parse_yaml(attention, "--attention");
  description.forget_lines();
  if (!description.is_scalar()) {
    registry.find(description);
    return {of(registry.type_of(description), description.to_flow())};
  }
  std::vector<DraftCase> all;
  for (const std::string& name : names_of<AttentionPolicy>(attention)) {
    DraftCase one = of(name, name);
    for (const DraftCase& known : made_forms().at("sparse_cache"))
      if (known.name == one.name) one = known;
    all.push_back(one);
  }
  return all;
}

Tokens prompt_with_repeats(int vocab) {
  if (vocab == 2) return {0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1};
  return {1, 2, 1, 0, 2, 0, 0, 1, 1, 0, 2, 2, 1, 2, 1};
}

}  // namespace foretell::certify
