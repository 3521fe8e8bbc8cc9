// The conformance suite over policies: whatever decides how much is drafted, in which shape and with what in sight,
// does not show in what comes out.
#include <map>
#include <numeric>

#include "experiments/certify/checks.h"
#include "framework/api/attention_policy.h"
#include "framework/api/policy.h"
#include "framework/formats/safetensors.h"
#include "framework/formats/stored_numbers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;

// An acceptance head for the toy's states of two numbers, sure of nothing.
std::string write_toy_head(const TemporaryFolder& folder) {
  const auto tensor = [](const std::string& name, std::vector<std::int64_t> shape, std::vector<float> values) {
    return NewTensor{name, StoredType::F32, std::move(shape), [values](std::span<std::byte> to) {
                       for (std::size_t i = 0; i < values.size(); ++i)
                         write_stored(StoredType::F32, values[i], &to[4 * i]);
                     }};
  };
  const std::vector<NewTensor> tensors = {tensor("model.0.linear.weight", {2, 2}, {0.1F, -0.2F, 0.3F, 0.1F}),
                                          tensor("model.0.linear.bias", {2}, {0.1F, 0.2F}),
                                          tensor("model.1.weight", {2, 2}, {0.02F, -0.1F, 0.05F, 0.03F}),
                                          tensor("model.1.bias", {2}, {0.0F, 0.7F})};
  const auto file = folder.path() / "head.safetensors";
  write_safetensors(file, tensors);
  return file.string();
}

// Every registered policy as it comes and, where that waits before it drafts or draws from the clock, in a form that
// does neither.
std::vector<std::string> length_policies(const TemporaryFolder& folder) {
  std::vector<std::string> out;
  for (const auto& [name, entry] : Registry<DraftPolicy>::instance().entries())
    out.push_back(name == "specdecpp"
                      ? "{type: specdecpp, min_tokens: 0, threshold: 0.5, head: " + write_toy_head(folder) + "}"
                      : name);
  for (const char* form :
       {"{type: hf_schedule, num_assistant_tokens_schedule: heuristic_transient, num_assistant_tokens: 2}",
        "{type: hf_schedule, num_assistant_tokens: 1, floor: 0}",
        "{type: confidence, assistant_confidence_threshold: 0.5}", "{type: svip, threshold: 0.35}",
        "{type: adaedl, threshold: 0.45, step: 0.2, threshold_memory: 0.5}",
        "{type: batch_budget, num_speculative_tokens_per_batch_size: [[1, 1, 3], [2, 2, 1], [3, 8, 0]]}",
        "{type: all_of, policies: [{type: goodput}, {type: svip, threshold: 0.35}, {type: adaedl}]}",
        "{type: ucb, reward: modelled}", "{type: exp3, reward: modelled}", "{type: thompson, reward: modelled}"})
    out.push_back(form);
  return out;
}

// Whether it decides the same every time that it sees the same: enumeration has to follow it again and again.
bool repeatable(const std::string& policy) { return policy != "ucb" && policy != "exp3" && policy != "thompson"; }

// Small enough that every branch can be walked.
const std::vector<std::string>& tree_policies() {
  static const std::vector<std::string> all = {
      "{type: widths, widths: [2, 1]}",
      "{type: static, paths: [[0], [1], [0, 0]]}",
      "{type: sequoia, acceptance_by_rank: [0.5, 0.3], num_nodes: 3, max_depth: 2}",
      "{type: eagle2, top_k: 2, depth: 2, total_tokens: 4}",
      "{type: ddd, top_k: 2, depth: 3, total_tokens: 4, check_depths: [2], threshold: -0.2}",
      "{type: opt_tree, num_nodes: 3, max_depth: 2, threshold: 0.1}",
      "{type: ddtree, num_nodes: 3, max_depth: 2}",
      "{type: evict, top_k: 2, depth: 2, total_tokens: 4}"};
  return all;
}

void check_lossless(const Setup& large, const std::function<Setup(std::shared_ptr<const ToyModel>)>& on, bool exact) {
  CHECK(check_identity(large).value_or("") == "");
  if (exact) CHECK(complaint_of(enumerate(on(toy_target(3, 4096, 7)))).value_or("") == "");
  CHECK(chi_square(on(toy_target(5)), {.trials = 3000}).p_value > 1e-5);
}

TEST_CASE("every length policy is lossless on chains", "[conformance][policies]") {
  const TemporaryFolder folder;
  for (const std::string& policy : length_policies(folder)) {
    INFO(policy);
    const auto on = [&](std::shared_ptr<const ToyModel> target, int depth) {
      return toy_setup(fmt::format("{{type: model, num_speculative_tokens: {}}}", depth), "rejection", "",
                       std::move(target), {policy});
    };
    check_lossless(
        on(toy_target(11), 6), [&](auto target) { return on(target, 2); }, repeatable(policy));
    CHECK(check_identity(on(toy_target(11, 48), 6)).value_or("") == "");
  }
}

TEST_CASE("every length policy is lossless on trees, drawn and chosen", "[conformance][policies]") {
  const TemporaryFolder folder;
  for (const std::string& policy : length_policies(folder)) {
    for (const char* drafter : {"{type: model}", "{type: model, draft_sample_method: top_k}"}) {
      INFO(policy << " " << drafter);
      const Setup setup = toy_setup(drafter, "rejection", "{type: eagle2, top_k: 3, depth: 4, total_tokens: 9}",
                                    toy_target(5), {policy});
      CHECK(check_identity(setup).value_or("") == "");
      CHECK(chi_square(setup, {.trials = 2000}).p_value > 1e-5);
    }
  }
}

TEST_CASE("every tree policy is registered in the list of these tests", "[conformance][policies]") {
  for (const auto& [name, entry] : Registry<TreePolicy>::instance().entries()) {
    INFO(name);
    CHECK(std::any_of(tree_policies().begin(), tree_policies().end(),
                      [&](const std::string& tree) { return tree.find("type: " + name + ",") != std::string::npos; }));
  }
}

TEST_CASE("every tree policy is lossless, drawn with and without replacement, and chosen", "[conformance][policies]") {
  for (const std::string& tree : tree_policies()) {
    for (const char* drafter :
         {"{type: model}", "{type: model, replacement: true}", "{type: model, draft_sample_method: top_k}"}) {
      INFO(tree << " " << drafter);
      const auto on = [&](std::shared_ptr<const ToyModel> target) {
        return toy_setup(drafter, "rejection", tree, std::move(target));
      };
      check_lossless(on(toy_target(11)), on, true);
      CHECK(check_identity(on(toy_target(11, 48))).value_or("") == "");
    }
  }
}

TEST_CASE("every attention policy is lossless, with less in sight than the toy looks at", "[conformance][policies]") {
  const std::map<std::string, std::string> forms = {{"streaming", "{type: streaming, sinks: 1, window: 2}"},
                                                    {"h2o", "{type: h2o, heavy_hitters: 1, window: 2}"}};
  for (const auto& [name, entry] : Registry<AttentionPolicy>::instance().entries()) {
    INFO(name);
    REQUIRE(forms.contains(name));
    for (const char* tree : {"", "{type: widths, widths: [2, 2]}"}) {
      const auto on = [&](std::shared_ptr<const ToyModel> target) {
        return toy_setup(fmt::format("{{type: sparse_cache, attention: {}}}", forms.at(name)), "rejection", tree,
                         std::move(target));
      };
      check_lossless(on(toy_target(11)), on, true);
    }
  }
}

TEST_CASE("tree policies as they come emit the greedy text", "[conformance][policies]") {
  for (const char* tree : {"sequoia", "eagle2", "ddd", "opt_tree", "ddtree",
                           "{type: static, paths: [[0], [1], [2], [0, 0], [0, 1], [0, 0, 0]]}"}) {
    INFO(tree);
    const Setup setup = toy_setup("model", "rejection", tree, toy_target(11, 200));
    std::vector<Request> requests;
    for (std::uint64_t id = 0; id < 4; ++id)
      requests.push_back(
          {.id = id, .prompt = {static_cast<Token>(id), 4, 2}, .max_new_tokens = 60 + static_cast<int>(id)});
    requests.back().max_new_tokens = 1000;  // the context ends first
    const auto out = run(setup, requests, {.batch = 2});
    for (std::size_t i = 0; i < requests.size(); ++i)
      CHECK(out[i].tokens == reference_greedy(*setup.model, requests[i]));
  }
}

TEST_CASE("policies without state give the same tokens in any batch and order", "[conformance][policies]") {
  const TemporaryFolder folder;
  for (const std::string& policy : length_policies(folder)) {
    const Setup setup =
        toy_setup("{type: model, num_speculative_tokens: 5}", "rejection", "", toy_target(11), {policy});
    if (setup.depends_on_the_run) continue;
    INFO(policy);
    std::vector<Request> requests;
    for (std::uint64_t id = 0; id < 5; ++id) {
      requests.push_back(
          {.id = id, .prompt = {static_cast<Token>(id), 2, 3}, .max_new_tokens = 30 + static_cast<int>(id), .seed = 5});
      requests.back().sampling.temperature = 0.8;
    }
    const auto one = run(setup, requests);
    const auto three = run(setup, {requests.rbegin(), requests.rend()}, {.batch = 3});
    for (std::size_t i = 0; i < requests.size(); ++i) {
      CHECK(one[i].tokens == three[requests.size() - 1 - i].tokens);
      CHECK(one[i].rounds.size() == three[requests.size() - 1 - i].rounds.size());
    }
  }
}

}  // namespace
}  // namespace foretell::testing
