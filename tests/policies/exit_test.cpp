// Exit policies by themselves: statistics against golden values, decisions worked out by hand.
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"
#include "framework/core/error.h"
#include "framework/exits/beta_mixture.h"
#include "framework/exits/confidence_exit.h"
#include "framework/exits/layer_sets.h"
#include "framework/formats/safetensors.h"
#include "tests/fuzz/head_targets.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/seeds.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;

std::unique_ptr<ExitPolicy> exit_policy(const std::string& yaml) {
  return Registry<ExitPolicy>::instance().make(parse_yaml(yaml, "exit.yaml"), BuildContext{});
}

// One layer of one forward, rows numbered 0, 1, ... unless `rows` says otherwise.
std::vector<char> ask_exits(ExitPolicy& policy, int layer, const std::vector<std::vector<float>>& values, bool first,
                            std::vector<int> numbers = {}, const std::vector<std::vector<float>>& previous = {}) {
  const auto flat = [](const std::vector<std::vector<float>>& rows) {
    std::vector<float> all;
    for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
    return all;
  };
  std::vector<ExitRow> rows;
  for (std::size_t i = 0; i < values.size(); ++i)
    rows.push_back({7, numbers.empty() ? static_cast<int>(i) : numbers[i], 20 + static_cast<int>(i), 3, 30, i > 0});
  const std::vector<float> shown = flat(values), before = flat(previous);
  std::vector<char> leaves(values.size(), 0);
  const bool states = policy.wants().states;
  policy.decide({layer, first, rows, states ? std::span<const float>() : shown,
                 states ? std::span<const float>(shown) : std::span<const float>(), before},
                leaves);
  return leaves;
}

using ExitLeaves = std::vector<char>;

TEST_CASE("confidence statistics and thresholds agree with golden values", "[exit]") {
  const char* data = std::getenv("FORETELL_DATA");
  if (data == nullptr) {
    std::cout << "SKIPPED confidence of exit policies: FORETELL_DATA is not set\n";
    return;
  }
  std::ifstream in(std::string(data) + "/golden/router_exit_golden.json");
  const auto golden = nlohmann::json::parse(in);
  const auto rows = golden["logits"].get<std::vector<std::vector<float>>>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& expected = golden["confidence_of_rows_as_logits"][i];
    const double highest = expected["max_prob"], gap = expected["top2_gap"], entropy = expected["entropy_nats"];
    const exits::LogitStatistics found = exits::logit_statistics(rows[i]);
    CHECK(std::abs(found.first - highest) < 1e-7);
    CHECK(std::abs(found.first - found.second - gap) < 1e-7);
    CHECK(std::abs(found.entropy - entropy) < 1e-7);
    CHECK(std::abs(found.entropy / std::log(8.0) - expected["entropy_norm"].get<double>()) < 1e-7);
    const auto leaves_at = [&](const std::string& type, double threshold, const std::string& more = "") {
      return ask_exits(*exit_policy(fmt::format("{{type: {}, threshold: {}{}}}", type, threshold, more)), 1, {rows[i]},
                       true) == ExitLeaves{1};
    };
    CHECK((leaves_at("max_probability", highest - 1e-6) && !leaves_at("max_probability", highest + 1e-6)));
    CHECK((leaves_at("margin", gap - 1e-6) && !leaves_at("margin", gap + 1e-6)));
    CHECK((leaves_at("entropy", entropy + 1e-6) && !leaves_at("entropy", entropy - 1e-6)));
    CHECK((leaves_at("entropy", entropy / std::log(8.0) + 1e-6, ", normalised: true") &&
           !leaves_at("entropy", entropy / std::log(8.0) - 1e-6, ", normalised: true")));
  }
}

TEST_CASE("huge logits do not overflow, and thresholds at the end mean always and never", "[exit]") {
  const std::vector<float> sure{1e30F, 0, -1e30F};
  CHECK(exits::logit_statistics(sure).entropy == 0);
  CHECK(ask_exits(*exit_policy("{type: max_probability, threshold: 1}"), 1, {sure}, true) == ExitLeaves{0});
  CHECK(ask_exits(*exit_policy("{type: max_probability, threshold: 0}"), 1, {{0, 0, 0}}, true) == ExitLeaves{1});
  CHECK(ask_exits(*exit_policy("{type: margin, threshold: 1}"), 1, {sure}, true) == ExitLeaves{0});
  CHECK(ask_exits(*exit_policy("{type: margin, threshold: 0}"), 1, {{0, 0, 0}}, true) == ExitLeaves{1});
  CHECK(ask_exits(*exit_policy("{type: entropy, threshold: 0}"), 1, {sure}, true) == ExitLeaves{0});
}

TEST_CASE("patience counts agreements of each row, and starts over in the next forward", "[exit]") {
  const auto patience = exit_policy("{type: patience, patience: 2}");
  const std::vector<float> a{1, 0}, b{0, 1};
  CHECK(ask_exits(*patience, 1, {a, a, b}, true) == ExitLeaves{0, 0, 0});
  CHECK(ask_exits(*patience, 2, {a, b, b}, false) == ExitLeaves{0, 0, 0});
  CHECK(ask_exits(*patience, 3, {a, b, b}, false) == ExitLeaves{1, 0, 1});
  CHECK(ask_exits(*patience, 4, {b}, false, {1}) == ExitLeaves{1});
  CHECK(ask_exits(*patience, 1, {a}, true) == ExitLeaves{0});
  CHECK(ask_exits(*patience, 2, {a}, false) == ExitLeaves{0});
  CHECK(ask_exits(*patience, 3, {b}, false) == ExitLeaves{0});
  CHECK(ask_exits(*patience, 4, {b}, false) == ExitLeaves{0});
  CHECK(ask_exits(*patience, 5, {b}, false) == ExitLeaves{1});
  const auto never = exit_policy("{type: patience, patience: 0}");
  ask_exits(*never, 1, {a}, true);
  for (int layer = 2; layer < 9; ++layer) CHECK(ask_exits(*never, layer, {a}, false) == ExitLeaves{0});
}

TEST_CASE("hidden_similarity compares a state with that of the layer asked before", "[exit]") {
  const auto similar = exit_policy("{type: hidden_similarity, threshold: 0.9}");
  CHECK(similar->wants().states);
  CHECK(!similar->wants().logits);
  CHECK(ask_exits(*similar, 1, {{1, 0}}, true) == ExitLeaves{0});
  CHECK(ask_exits(*similar, 2, {{2, 0.5F}, {1, 1}, {0, 0}}, false, {}, {{1, 0}, {1, 0}, {1, 0}}) ==
        ExitLeaves{1, 0, 0});
  CHECK(ask_exits(*exit_policy("{type: hidden_similarity, threshold: 1}"), 2, {{2, 0}}, false, {}, {{1, 0}}) ==
        ExitLeaves{0});
}

TEST_CASE("exit policies are asked at the layers that they name", "[exit]") {
  CHECK(exit_policy("{type: fixed_layer, layer: 2}")->layers(4) == std::vector<int>{2});
  CHECK(ask_exits(*exit_policy("{type: fixed_layer, layer: 2}"), 2, {{0}, {0}}, true) == ExitLeaves{1, 1});
  CHECK(!exit_policy("{type: fixed_layer, layer: 2}")->wants().logits);
  CHECK(exit_policy("margin")->layers(4) == std::vector<int>{1, 2, 3});
  CHECK(exit_policy("margin")->layers(1).empty());
  CHECK(exit_policy("{type: margin, layers: [1, 3]}")->layers(4) == std::vector<int>{1, 3});
  CHECK_THROWS_WITH(exit_policy("{type: margin, layers: [1, 4]}")->layers(4),
                    Contains("exit.yaml:1") && Contains("layer 4") && Contains("4 layers") && Contains("1 to 3"));
  CHECK_THROWS_WITH(exit_policy("{type: fixed_layer, layer: 4}")->layers(4),
                    Contains("exit.yaml:1") && Contains("layer 4") && Contains("1 to 3"));
  CHECK_THROWS_WITH(exit_policy("{type: margin, layers: [3, 1]}"), Contains("exit.yaml:1") && Contains("increasing"));
  CHECK_THROWS_WITH(exit_policy("fixed_layer"), Contains("layer"));
  CHECK_THROWS_WITH(exit_policy("{type: margin, threshold: 1.5}"), Contains("exit.yaml:1"));
  for (const auto& [name, entry] : Registry<ExitPolicy>::instance().entries()) {
    INFO(name);
    CHECK(!entry.info.summary.empty());
    const std::string written = name == "fixed_layer"  ? "{type: fixed_layer, layer: 1}"
                                : name == "classifier" ? "{type: classifier, probe: random}"
                                : name == "specee"     ? "{type: specee, predictor: random}"
                                                       : name;
    CHECK(exit_policy(written)->row_independent() == (name != "synchronised"));
  }
}

// One row at one layer that asks for logits, `generated` tokens into an answer of at most 100.
bool leaves_at(ExitPolicy& policy, int layer, const std::vector<float>& logits, int generated = 0, bool first = true) {
  const ExitRow row{7, 0, 20 + generated, generated, 100, false};
  std::vector<char> leaves{0};
  policy.decide({layer, first, {&row, 1}, logits, {}, {}}, leaves);
  return leaves[0] != 0;
}

TEST_CASE("calm's threshold falls along the answer as another program computes it", "[exit]") {
  const char* data = std::getenv("FORETELL_DATA");
  if (data == nullptr) {
    std::cout << "SKIPPED threshold of calm: FORETELL_DATA is not set\n";
    return;
  }
  std::ifstream in(std::string(data) + "/golden/router_exit_golden.json");
  const auto goldens = nlohmann::json::parse(in);
  for (const auto& golden : goldens["calm_threshold"]) {
    REQUIRE(golden["N"].get<int>() == 100);
    for (const std::string decay : {"paper", "code"}) {
      const auto policy = exit_policy(fmt::format("{{type: calm, threshold: {}, temperature: {}, decay: {}}}",
                                                  golden["lam"].get<double>(), golden["tau"].get<double>(), decay));
      const double threshold = golden[decay];
      const auto row = [](double p) { return std::vector<float>{static_cast<float>(std::log(p / (1 - p))), 0}; };
      CHECK(leaves_at(*policy, 1, row(threshold + 1e-5), golden["t"]));
      CHECK(!leaves_at(*policy, 1, row(threshold - 1e-5), golden["t"]));
    }
  }
}

TEST_CASE("calm compares what it is told to, and without temperature always the same", "[exit]") {
  const std::vector<float> logits{2, 1};  // probabilities 0.731 and 0.269
  CHECK(leaves_at(*exit_policy("{type: calm, threshold: 0.7, temperature: 0}"), 1, logits, 90));
  CHECK(!leaves_at(*exit_policy("{type: calm, threshold: 0.7, temperature: 0, confidence: softmax_diff}"), 1, logits));
  CHECK(leaves_at(*exit_policy("{type: calm, threshold: 0.4, confidence: softmax_diff}"), 1, logits, 99));
  const auto state = exit_policy("{type: calm, threshold: 0.9, temperature: 0, confidence: state, decay: code}");
  CHECK(state->wants().states);
  CHECK(ask_exits(*state, 1, {{1, 0}}, true) == ExitLeaves{0});
  CHECK(ask_exits(*state, 2, {{2, 0.5F}, {1, 1}}, false, {}, {{1, 0}, {1, 0}}) == ExitLeaves{1, 0});
}

TEST_CASE("lite's threshold falls in equal steps over the layers that are asked", "[exit]") {
  const auto policy = exit_policy("{type: lite, first: 0.9, last: 0.6, layers: [2, 4, 6]}");
  REQUIRE(policy->layers(8) == std::vector<int>{2, 4, 6});
  const auto row = [](double p) { return std::vector<float>{static_cast<float>(std::log(p / (1 - p))), 0}; };
  for (const auto& [layer, threshold] : {std::pair{2, 0.9}, {4, 0.75}, {6, 0.6}}) {
    CHECK(leaves_at(*policy, layer, row(threshold + 1e-5)));
    CHECK(!leaves_at(*policy, layer, row(threshold - 1e-5)));
  }
  const auto never = exit_policy("{type: lite, first: 1, last: 1}");
  CHECK(never->layers(4).size() == 3);
  CHECK(!leaves_at(*never, 3, {1e30F, 0}));
}

TEST_CASE("skipdecode never goes deeper than before", "[exit]") {
  const auto policy = exit_policy("{type: skipdecode, from: 8, to: 4}");
  REQUIRE(policy->layers(8) == std::vector<int>{4, 5, 6, 7});
  const auto depth = [&](int generated) {
    for (const int layer : policy->layers(8))
      if (leaves_at(*policy, layer, {}, generated)) return layer;
    return 8;
  };
  CHECK(depth(0) == 8);
  CHECK(depth(50) == 6);
  CHECK(depth(100) == 4);
  CHECK(depth(1000) == 4);
  for (int generated = 1; generated <= 100; ++generated) CHECK(depth(generated) <= depth(generated - 1));
  CHECK_THROWS_WITH(exit_policy("{type: skipdecode, from: 9}")->layers(8), Contains("exit.yaml:1") && Contains("9"));
  CHECK_THROWS_WITH(exit_policy("{type: skipdecode, from: 3, to: 4}")->layers(8), Contains("exit.yaml:1"));
}

TEST_CASE("all_of and any_of ask their members as each would be asked alone", "[exit]") {
  const std::string members =
      "policies: [{type: max_probability, threshold: 0.6, layers: [1, 3]}, {type: patience, patience: 1}]";
  const auto all = exit_policy("{type: all_of, " + members + "}"), any = exit_policy("{type: any_of, " + members + "}");
  for (ExitPolicy* policy : {all.get(), any.get()}) {
    CHECK(policy->layers(5) == std::vector<int>{1, 2, 3, 4});
    CHECK((policy->wants().logits && !policy->wants().states && policy->row_independent()));
  }
  const std::vector<float> sure{2, 0}, unsure{0.1F, 0};
  CHECK(ask_exits(*all, 1, {sure, unsure}, true) == ExitLeaves{0, 0});
  CHECK(ask_exits(*any, 1, {sure, unsure}, true) == ExitLeaves{1, 0});
  CHECK(ask_exits(*all, 2, {sure, unsure}, false) == ExitLeaves{0, 0});
  CHECK(ask_exits(*any, 2, {unsure}, false, {1}) == ExitLeaves{1});
  CHECK(ask_exits(*all, 3, {sure, unsure}, false) == ExitLeaves{1, 0});
  CHECK(!exit_policy("{type: any_of, policies: [{type: synchronised}, {type: margin}]}")->row_independent());
  CHECK_THROWS_WITH(exit_policy("{type: all_of, policies: []}"),
                    Contains("exit.yaml:1") && Contains("list of exit policies"));
  CHECK_THROWS_WITH(exit_policy("{type: any_of, policies: [{type: marginn}]}"), Contains("marginn"));
}

TEST_CASE("a member sees the states of the layer that it was asked at before, not those of another member's",
          "[exit]") {
  const auto policy = exit_policy(
      "{type: any_of, policies: [{type: hidden_similarity, threshold: 0.9, layers: [1, 3]}, {type: fixed_layer, layer: "
      "2}]}");
  REQUIRE(policy->layers(4) == std::vector<int>{1, 2, 3});
  // Layer 2 turns the state; at layer 3 it is as at layer 1 again.
  CHECK(ask_exits(*policy, 1, {{1, 0}}, true) == ExitLeaves{0});
  std::vector<char> leaves = ask_exits(*policy, 2, {{0, 1}}, false, {}, {{1, 0}});
  CHECK(leaves == ExitLeaves{1});  // of the fixed layer
  CHECK(ask_exits(*policy, 3, {{1, 0.1F}}, false, {}, {{0, 1}}) == ExitLeaves{1});
}

TEST_CASE("rows under synchronised leave together, once each of them was ready", "[exit]") {
  const auto policy = exit_policy("{type: synchronised, policy: {type: max_probability, threshold: 0.8}}");
  CHECK(!policy->row_independent());
  const std::vector<float> sure{3, 0}, unsure{0, 0};
  CHECK(ask_exits(*policy, 1, {sure, unsure}, true) == ExitLeaves{0, 0});
  CHECK(ask_exits(*policy, 2, {unsure, unsure}, false) == ExitLeaves{0, 0});
  CHECK(ask_exits(*policy, 3, {unsure, sure}, false) == ExitLeaves{1, 1});
  CHECK(ask_exits(*policy, 1, {unsure, sure}, true) == ExitLeaves{0, 0});
}

TEST_CASE("free: the threshold is where right and wrong confidences part, as the formula says", "[exit]") {
  // Symmetric before anything is known: right tokens Beta(2, 1), wrong ones Beta(1, 2); x / (x + 1 - x) > 0.4.
  CHECK(exits::free_threshold({}) == Approx(0.3 + 0.6 * 2 / 9));
  const exits::Beta fitted = exits::fit_beta(std::vector<double>{0.2, 0.4, 0.6}, {});
  const double mean = 0.4, variance = 0.08 / 3, scale = mean * (1 - mean) / variance - 1;
  CHECK(fitted.alpha == Approx(mean * scale));
  CHECK(fitted.beta == Approx((1 - mean) * scale));
  CHECK(exits::fit_beta(std::vector<double>{0.7}, {3, 4}).beta == 4);
  CHECK(exits::fit_beta(std::vector<double>{0.7, 0.7}, {3, 4}).alpha == 3);
  CHECK(exits::Beta{2, 3}.density(0.25) == Approx(12 * 0.25 * 0.75 * 0.75));
  std::vector<exits::Judgement> sure, unsure;
  for (int i = 0; i < 20; ++i) {
    const double step = 0.005 * i;
    sure.insert(sure.end(), {{0.5 + step, true}, {0.15 + step, false}});
    unsure.insert(unsure.end(), {{0.88 + step, true}, {0.6 + step, false}});
  }
  CHECK(exits::free_threshold(sure) < 0.5);
  CHECK(exits::free_threshold(unsure) > 0.7);
}

TEST_CASE("free: judged rows of a draft move the threshold, rows that did not leave do not", "[exit]") {
  const auto policy = exit_policy("{type: free, layer: 2, threshold: 0.5, refit_every: 4}");
  CHECK(policy->layers(9) == std::vector<int>{2});
  CHECK(exit_policy("free")->layers(12) == std::vector<int>{4});
  CHECK_THROWS_WITH(exit_policy("{type: free, layer: 9}")->layers(9), Contains("exit.yaml:1") && Contains("layer 9"));
  const std::vector<float> unsure = {0, 0.2F}, half = {0, 1.2F}, sure = {0, 4};
  CHECK(ask_exits(*policy, 2, {unsure, half, sure}, true) == ExitLeaves{0, 1, 1});
  const auto judge = [&](int number, bool agreed) {
    const ExitRecord record{{7, number, 20 + number, 3, 30, number > 0}, 2, agreed};
    policy->observe({&record, 1});
  };
  for (int round = 0; round < 6; ++round) {  // half was wrong each time, sure was right
    ask_exits(*policy, 2, {unsure, half, sure}, true);
    judge(0, false);
    judge(1, false);
    judge(2, true);
  }
  CHECK(ask_exits(*policy, 2, {unsure, half, sure}, true) == ExitLeaves{0, 0, 1});
  const auto fixed = exit_policy("{type: free, layer: 2, threshold: 0.5, adaptive: false}");
  CHECK(ask_exits(*fixed, 2, {unsure, half, sure}, true) == ExitLeaves{0, 1, 1});
}

std::string probe_bytes(const std::filesystem::path& file,
                        const std::vector<std::pair<std::string, std::vector<float>>>& tensors,
                        const std::map<std::string, std::vector<std::int64_t>>& shapes = {}) {
  std::vector<formats::NewTensor> list;
  for (const auto& [name, values] : tensors) {
    const auto shape = shapes.find(name);
    list.push_back(
        {name, formats::StoredType::F32,
         shape != shapes.end() ? shape->second : std::vector<std::int64_t>{std::ssize(values)},
         [values = values](std::span<std::byte> out) { std::memcpy(out.data(), values.data(), out.size()); }});
  }
  formats::write_safetensors(file, list);
  return file.string();
}

TEST_CASE("classifier: a row leaves by the probe of its layer, on the state over its root mean square", "[exit]") {
  const testing::TemporaryFolder folder;
  const std::string shared =
      probe_bytes(folder.path() / "exit_probe.safetensors", {{"shared.weight", {1, -1}}, {"shared.bias", {0.5F}}});
  const auto policy = exit_policy("{type: classifier, probe: " + folder.path().string() + ", threshold: 0.7}");
  CHECK(policy->wants().states);
  CHECK(policy->layers(4) == std::vector<int>{1, 2, 3});
  // (30, 10) over sqrt(500) leaves with sigmoid(0.894 + 0.5) = 0.80; scale changes nothing.
  CHECK(ask_exits(*policy, 1, {{30, 10}, {0.3F, 0.1F}, {10, 30}, {0, 0}}, true) == ExitLeaves{1, 1, 0, 0});
  CHECK(ask_exits(*exit_policy("{type: classifier, probe: " + shared + ", threshold: 1}"), 1, {{30, 10}}, true) ==
        ExitLeaves{0});
  const std::string own = probe_bytes(
      folder.path() / "own.safetensors",
      {{"layers.2.weight", {1, 0}}, {"layers.2.bias", {0}}, {"layers.3.weight", {-1, 0}}, {"layers.3.bias", {0}}});
  const auto each = exit_policy("{type: classifier, probe: " + own + "}");
  CHECK(each->layers(9) == std::vector<int>{2, 3});
  CHECK(ask_exits(*each, 2, {{1, 1}, {-1, 1}}, true) == ExitLeaves{1, 0});
  CHECK(ask_exits(*each, 3, {{1, 1}, {-1, 1}}, false) == ExitLeaves{0, 1});
  CHECK_THROWS_WITH(exit_policy("{type: classifier, probe: " + own + ", layers: [4]}")->layers(9),
                    Contains("exit.yaml:1") && Contains("no probe behind layer 4"));
  CHECK_THROWS_WITH(exit_policy("classifier"), Contains("'probe' is missing"));
  CHECK_THROWS_WITH(exit_policy("{type: classifier, probe: " + folder.path().string() + "/none}"),
                    Contains("exit.yaml:1"));
}

TEST_CASE("probes and predictors that do not fit are refused in one line", "[exit]") {
  const testing::TemporaryFolder folder;
  const auto mistake = [&](const std::string& type,
                           const std::vector<std::pair<std::string, std::vector<float>>>& tensors,
                           const std::map<std::string, std::vector<std::int64_t>>& shapes = {}) {
    const std::string file = probe_bytes(folder.path() / "file.safetensors", tensors, shapes);
    try {
      exit_policy(fmt::format("{{type: {}, {}: {}}}", type, type == "specee" ? "predictor" : "probe", file));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(mistake("classifier", {{"weight", {1}}}), Contains("'weight' is none of its tensors"));
  CHECK_THAT(mistake("classifier", {{"layers.01.weight", {1}}}), Contains("'layers.01.weight' is none"));
  CHECK_THAT(mistake("classifier", {{"layers.1.weight", {1}}}), Contains("'layers.1.bias' is missing"));
  CHECK_THAT(mistake("classifier", {{"shared.weight", {1}}, {"shared.bias", {1, 2}}}),
             Contains("'shared.bias' is [2]"));
  CHECK_THAT(mistake("classifier",
                     {{"shared.weight", {1}}, {"shared.bias", {1}}, {"layers.1.weight", {1}}, {"layers.1.bias", {1}}}),
             Contains("one of the two"));
  CHECK_THAT(mistake("classifier", {{"shared.weight", {std::nanf("")}}, {"shared.bias", {1}}}),
             Contains("not a finite"));
  const std::vector<std::pair<std::string, std::vector<float>>> predictor = {{"layers.1.up.weight", {1, 2, 3, 4}},
                                                                             {"layers.1.up.bias", {0, 0}},
                                                                             {"layers.1.down.weight", {1, 1}},
                                                                             {"layers.1.down.bias", {0}}};
  CHECK_THAT(mistake("specee", predictor, {{"layers.1.up.weight", {2, 2}}}), Contains("has 2 inputs"));
  CHECK_THAT(mistake("specee", predictor, {{"layers.1.up.weight", {1, 4}}}),
             Contains("'layers.1.up.weight' is [1, 4]"));
}

TEST_CASE("specee: behind the first layer only the candidates are looked at, and the features are the paper's",
          "[exit]") {
  const testing::TemporaryFolder folder;
  // One candidate-wide pair: leaves where the first candidate's probability rises by more than a half since before.
  const std::string file = probe_bytes(folder.path() / "exit_predictor.safetensors",
                                       {{"layers.1.up.weight", {0, 0, 0, 0, 1, 0}},
                                        {"layers.1.up.bias", {-0.99F}},
                                        {"layers.1.down.weight", {100}},
                                        {"layers.1.down.bias", {-0.1F}},
                                        {"layers.2.up.weight", {0, 0, 0, 0, 1, 0}},
                                        {"layers.2.up.bias", {-0.2F}},
                                        {"layers.2.down.weight", {100}},
                                        {"layers.2.down.bias", {-0.1F}}},
                                       {{"layers.1.up.weight", {1, 6}}, {"layers.2.up.weight", {1, 6}}});
  const auto policy = exit_policy("{type: specee, predictor: " + folder.path().string() + "}");
  CHECK(policy->layers(5) == std::vector<int>{1, 2});
  CHECK(policy->wants().logits);
  CHECK(ask_exits(*policy, 1, {{0, 0.1F, 0.2F, -3}, {-1, 5, -1, 4.9F}}, true) == ExitLeaves{0, 0});
  CHECK_FALSE(policy->wants().logits);
  CHECK(policy->wants().tokens == std::vector<Token>{1, 2, 3});  // 2 and 1 of the first row, 1 and 3 of the second
  // Of token 2 in the first row p goes from 0.52 to 0.95, of token 1 in the second from 0.52 to 0.5.
  CHECK(ask_exits(*policy, 2, {{0, 3, 9}, {2, 9, 2}}, false) == ExitLeaves{1, 0});
  policy->observe({});
  CHECK(policy->wants().logits);
  CHECK_THROWS_WITH(exit_policy("specee"), Contains("'predictor' is missing"));
  CHECK_THROWS_WITH(exit_policy("{type: specee, layers: [3], predictor: " + file + "}")->layers(5),
                    Contains("no predictor behind layer 3"));
}

TEST_CASE("the fuzzer's seeds of exit files are read or refused as they should be", "[exit]") {
  int read = 0, refused = 0;
  testing::for_each_seed("exit_files_fuzz", [&](const std::string& bytes) {
    const auto shown = std::as_bytes(std::span(bytes.data(), bytes.size()));
    try {
      fuzz::read_exit_files(shown, "seed");
      ++read;
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
      ++refused;
    }
  });
  CHECK((read == 1 && refused == 5));  // only one of them is a set of sublayers
}

TEST_CASE("published sets of sublayers are read, and what does not fit is told with its place", "[exit]") {
  const auto mistake = [](const std::string& text, const std::string& set = "a") {
    try {
      exits::layer_set(parse_yaml(text, "sets.json"), set, 8, "sets.json");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const exits::SkippedSublayers set =
      exits::layer_set(parse_yaml("{a: {attention: [5, 2, 5], mlp: [1]}, b: {}}", "sets.json"), "a", 8, "sets.json");
  CHECK(set.attention == std::vector<int>{2, 5});
  CHECK(set.mlp == std::vector<int>{1});
  CHECK_THAT(mistake("{b: {}}"), Contains("there is no set 'a'; expected one of b"));
  CHECK_THAT(mistake("[1]"), Contains("expected sets by name"));
  CHECK_THAT(mistake("{a: {attention: [8]}}"), Contains("sets.json:1") && Contains("attention"));
  CHECK_THAT(mistake("{a: {head: [1]}}"), Contains("sets.json:1") && Contains("head"));

  const char* data = std::getenv("FORETELL_DATA");
  if (data == nullptr) {
    std::cout << "SKIPPED published sets of sublayers: FORETELL_DATA is not set\n";
    return;
  }
  const std::string file = std::string(data) + "/data/head_layouts/swift_skip_layers.json";
  for (const auto& [name, layers, attention, mlp] : {std::tuple{"llama-2-13b_cnndm", 40, 20, 14},
                                                     {"llama-2-70b_cnndm", 80, 41, 37},
                                                     {"llama-2-13b_chat_cnndm", 40, 18, 16},
                                                     {"codellama-13b_humaneval", 40, 14, 20},
                                                     {"codellama-34b_humaneval", 48, 22, 24}}) {
    INFO(name);
    const exits::SkippedSublayers published = exits::load_layer_set(file, name, layers);
    CHECK(std::ssize(published.attention) == attention);
    CHECK(std::ssize(published.mlp) == mlp);
  }
}

}  // namespace
}  // namespace foretell
