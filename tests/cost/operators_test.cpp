#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>

#include "framework/cost/model_costs.h"
#include "framework/cost/operators/forward_operators.h"
#include "framework/cost/operators/llm_viewer.h"
#include "framework/formats/weight_list.h"
#include "tests/fuzz/cost_targets.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/seeds.h"

using namespace foretell;

namespace {

std::filesystem::path source_file(const std::string& relative) {
  const char* root = std::getenv("FORETELL_SOURCE_DIR");
  return std::filesystem::path(root ? root : ".") / relative;
}

Hardware device(const std::string& name) { return load_hardware(name, source_file("configs/hardware")); }

ModelConfig config_of(nlohmann::json sizes) {
  if (!sizes.contains("model_type")) sizes["model_type"] = "llama";
  return parse_model_config(sizes.dump(), "config");
}

// Grouped heads of a size that is not hidden / heads, an MLP and a vocabulary of uneven sizes.
ModelConfig grouped() {
  return config_of({{"vocab_size", 1003},
                    {"hidden_size", 96},
                    {"intermediate_size", 200},
                    {"num_hidden_layers", 5},
                    {"num_attention_heads", 8},
                    {"num_key_value_heads", 2},
                    {"head_dim", 20}});
}

const Hardware kAny{
    .name = "any", .source = "", .bandwidth = 1e9, .peak = {1e12, 1e12, {}, 2e12, {}}, .onchip_buffer = 1e5};

const OperatorWork& work_of(const ForwardOperators& forward, const std::string& name) {
  for (const OperatorCost& cost : forward.operators)
    if (cost.work.name == name) return cost.work;
  FAIL("no operator " << name);
  return forward.total;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(b); }

double field(const ForwardOperators& forward, const std::string& key) {
  const OperatorWork& total = forward.total;
  if (key == "OPs") return total.operations;
  if (key == "memory_access") return total.memory_access();
  if (key == "load_weight") return total.load_weight;
  if (key == "load_act") return total.load_act;
  if (key == "store_act") return total.store_act;
  if (key == "load_kv_cache") return total.load_kv_cache;
  if (key == "store_kv_cache") return total.store_kv_cache;
  if (key == "inference_time") return forward.seconds;
  if (key == "memory_consumption") return forward.memory();
  if (key == "memory_consumption_tmp_act") return forward.activation_bytes;
  if (key == "memory_consumption_weight") return forward.weight_bytes;
  if (key == "memory_consumption_kv_cache") return forward.cache_bytes;
  FAIL("LLM-Viewer has a field " << key);
  return 0;
}

double field(const OperatorCost& cost, const std::string& key) {
  if (key == "arithmetic_intensity") return cost.intensity;
  if (key == "performance") return cost.performance;
  if (key == "inference_time") return cost.seconds;
  ForwardOperators alone;
  alone.total = cost.work;
  return field(alone, key);
}

// How many numbers differ from LLM-Viewer's.
int differences(const ForwardOperators& forward, const nlohmann::json& total) {
  int wrong = 0;
  for (const auto& [key, value] : total.items()) wrong += !near(field(forward, key), value.get<double>());
  return wrong;
}

int operator_differences(const ForwardOperators& forward, const nlohmann::json& operators) {
  int wrong = forward.operators.size() != operators.size();
  for (const OperatorCost& cost : forward.operators)
    for (const auto& [key, value] : operators.at(cost.work.name).items())
      wrong += key == "bound" ? value != name_of(cost.bound) : !near(field(cost, key), value.get<double>());
  return wrong;
}

LlmViewerCase case_of(const nlohmann::json& of, int tokens) {
  return {.batch = of.at("batchsize"),
          .tokens = static_cast<double>(tokens),
          .precision = {of.at("w_bit"), of.at("a_bit"), of.at("kv_bit")},
          .fused = of.value("use_flashattention", false)};
}

void check_same(const ForwardOperators& a, const ForwardOperators& b) {
  std::set<std::string> names, others;
  for (const OperatorCost& cost : a.operators) names.insert(cost.work.name);
  for (const OperatorCost& cost : b.operators) others.insert(cost.work.name);
  CHECK(names == others);
  for (const OperatorCost& cost : a.operators)
    for (const OperatorCost& other : b.operators) {
      if (cost.work.name != other.work.name) continue;
      INFO(cost.work.name);
      CHECK(cost.work.layers == other.work.layers);
      CHECK(cost.work.bits == other.work.bits);
      for (const char* key :
           {"OPs", "load_weight", "load_act", "store_act", "load_kv_cache", "store_kv_cache", "inference_time"})
        CHECK(field(cost, key) == Approx(field(other, key)).epsilon(1e-12));
    }
  for (const char* key :
       {"inference_time", "memory_consumption_tmp_act", "memory_consumption_weight", "memory_consumption_kv_cache"}) {
    INFO(key);
    CHECK(field(a, key) == Approx(field(b, key)).epsilon(1e-12));
  }
}

// Nodes of a tree by parent; the first one is the last committed token. A level's nodes hang on the first of the level
// above.
std::vector<int> parents_of(const std::vector<double>& levels) {
  std::vector<int> parents;
  int above = -1;
  for (const double count : levels) {
    const int first = static_cast<int>(parents.size());
    for (int i = 0; i < count; ++i) parents.push_back(above);
    above = first;
  }
  return parents;
}

struct Counted {
  double pairs = 0;
  std::set<int> keys;
};

// Pairs and keys one by one: a node at depth d is at position context + d and sees what its window has of the context
// and its ancestors.
Counted count_seen(const std::vector<int>& parents, int context, int window) {
  Counted counted;
  for (int node = 0; node < static_cast<int>(parents.size()); ++node) {
    int depth = 0;
    for (int at = parents[node]; at >= 0; at = parents[at]) ++depth;
    const int position = context + depth;
    const auto see = [&](int key, int at) {
      if (position - at >= window) return;
      ++counted.pairs;
      counted.keys.insert(key);
    };
    for (int at = 0; at < context; ++at) see(at, at);
    for (int at = node, d = depth; at >= 0; at = parents[at], --d) see(context + at, context + d);
  }
  return counted;
}

ModelConfig deepseek_v3() {
  return config_of({{"model_type", "deepseek_v3"},
                    {"vocab_size", 129280},
                    {"hidden_size", 7168},
                    {"intermediate_size", 18432},
                    {"moe_intermediate_size", 2048},
                    {"num_hidden_layers", 61},
                    {"num_attention_heads", 128},
                    {"num_key_value_heads", 128},
                    {"n_shared_experts", 1},
                    {"n_routed_experts", 256},
                    {"num_experts_per_tok", 8},
                    {"first_k_dense_replace", 3},
                    {"q_lora_rank", 1536},
                    {"kv_lora_rank", 512},
                    {"qk_rope_head_dim", 64},
                    {"qk_nope_head_dim", 128},
                    {"v_head_dim", 128}});
}

}  // namespace

TEST_CASE("LLM-Viewer's numbers, all cases") {
  const auto file = testing::data_file("golden/llmviewer_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(testing::read_file(*file));
  std::map<std::string, ModelConfig> models;
  for (const auto& [name, sizes] : golden.at("model_params").items()) models[name] = config_of(sizes);
  int cases = 0, operators = 0, generations = 0;
  for (const auto& of : golden.at("cases")) {
    const ModelConfig& model = models.at(of.at("model"));
    const Hardware hardware = device(of.at("hardware"));
    for (const auto& [name, stage] : {std::pair("prefill", Stage::Prefill), std::pair("decode", Stage::Decode)}) {
      const ForwardOperators forward = llm_viewer_forward(model, hardware, stage, case_of(of, of.at("seqlen")));
      INFO("case " << of.at("id") << ", " << name);
      CHECK(differences(forward, of.at("total").at(name)) == 0);
      if (!of.contains("per_op_one_layer")) continue;
      CHECK(operator_differences(forward, of.at("per_op_one_layer").at(name)) == 0);
      ++operators;
    }
    ++cases;
  }
  for (const auto& of : golden.at("generate_task")) {
    const double seconds = llm_viewer_generation(models.at(of.at("model")), device(of.at("hardware")),
                                                 of.at("prompt_len"), of.at("gen_len"), case_of(of, 1));
    INFO(of.dump());
    CHECK(near(seconds, of.at("inference_time").get<double>()));
    ++generations;
  }
  CHECK(cases == 416);
  CHECK(operators == 72);
  CHECK(generations == 32);
}

TEST_CASE("the devices are LLM-Viewer's") {
  const auto file = testing::data_file("golden/llmviewer_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(testing::read_file(*file));
  for (const auto& [name, figures] : golden.at("all_hardware_params").items()) {
    INFO(name);
    const Hardware hardware = device(name);
    CHECK(hardware.name == name);
    CHECK(hardware.bandwidth == figures.at("bandwidth").get<double>());
    CHECK(hardware.peak.fp16 == figures.at("FP16").get<double>());
    CHECK(hardware.peak.int8.value_or(0) == figures.value("INT8", 0.0));
    CHECK(hardware.onchip_buffer == figures.at("onchip_buffer").get<double>());
  }
}

TEST_CASE("every device of the project can be read, and is named as its file") {
  const std::vector<std::string> names = hardware_names(source_file("configs/hardware"));
  CHECK(names.size() >= 13);
  for (const std::string& name : names) {
    const Hardware hardware = device(name);
    CHECK(hardware.name == name);
    CHECK(hardware.peak_of(16) > hardware.bandwidth);
  }
}

TEST_CASE("without its quirks LLM-Viewer's rules are ours") {
  LlmViewerQuirks none;
  for (const QuirkName& quirk : llm_viewer_quirks()) none.*quirk.field = false;
  const ModelConfig model = grouped();
  const Hardware hardware = device("nvidia_A100");
  for (const bool fused : {false, true})
    for (const Precision& precision : {Precision{}, Precision{8, 8, 8}, Precision{4, 16, 8}, Precision{8, 16, 16}}) {
      const LlmViewerCase of{.batch = 3, .tokens = 150, .precision = precision, .fused = fused};
      ForwardShape shape{.batch = 3, .rows = 150, .fused = fused};
      check_same(llm_viewer_forward(model, hardware, Stage::Prefill, of, none),
                 forward_operators(model, hardware, precision, shape));
      CHECK(llm_viewer_generation(model, hardware, 20, 7, of, none) ==
            Approx(generation_seconds(model, hardware, precision, 20, 7, shape)).epsilon(1e-12));
      shape.context = 150;
      shape.rows = 1;
      check_same(llm_viewer_forward(model, hardware, Stage::Decode, of, none),
                 forward_operators(model, hardware, precision, shape));
    }
}

TEST_CASE("every quirk has a switch that changes something") {
  const ModelConfig model = grouped();
  Hardware hardware = device("nvidia_A100");
  hardware.bandwidth *= 1e4;  // so that products are bound by computing
  for (const QuirkName& quirk : llm_viewer_quirks()) {
    LlmViewerQuirks others;
    others.*quirk.field = false;
    bool changes = false;
    for (const bool fused : {false, true})
      for (const Precision& precision : {Precision{8, 8, 16}, Precision{4, 16, 16}}) {
        const LlmViewerCase of{.batch = 2, .tokens = 100, .precision = precision, .fused = fused};
        for (const Stage stage : {Stage::Prefill, Stage::Decode}) {
          const ForwardOperators with = llm_viewer_forward(model, hardware, stage, of),
                                 without = llm_viewer_forward(model, hardware, stage, of, others);
          for (const char* key : {"OPs", "memory_access", "inference_time", "memory_consumption"})
            changes = changes || field(with, key) != field(without, key);
        }
        changes = changes || llm_viewer_generation(model, hardware, 5, 5, of) !=
                                 llm_viewer_generation(model, hardware, 5, 5, of, others);
      }
    INFO(quirk.name);
    CHECK(changes);
  }
}

TEST_CASE("LLM-Viewer's rules refuse what they do not describe") {
  const LlmViewerCase of;
  CHECK_THROWS_WITH(llm_viewer_forward(deepseek_v3(), device("nvidia_A100"), Stage::Decode, of),
                    Catch::Contains("mixture of experts"));
  CHECK_THROWS_WITH(llm_viewer_forward(grouped(), device("intel_13900k"), Stage::Decode,
                                       {.batch = 1, .tokens = 9, .precision = {8, 8, 8}}),
                    Catch::Contains("intel_13900k has no peak for products of 8 bits; it has fp16"));
  CHECK_THROWS_WITH(llm_viewer_forward(grouped(), device("nvidia_A100"), Stage::Decode,
                                       {.batch = 1, .tokens = 9, .precision = {5, 16, 16}}),
                    Catch::Contains("weights of 5 bits; known: 32, 16, 8, 4"));
}

TEST_CASE("operators have the parameters of the checkpoint, in every family") {
  int families = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_file("configs/models"))) {
    const ModelConfig model = parse_model_config(testing::read_file(entry.path()), entry.path().string());
    double listed = 0;
    for (const WeightSpec& spec : weight_list(model)) {
      double numbers = 1;
      for (const auto size : spec.shape) numbers *= static_cast<double>(size);
      listed += numbers;
    }
    INFO(entry.path());
    CHECK(parameters_of(model, false) == listed);
    ++families;
  }
  CHECK(families > 10);
}

TEST_CASE("DeepSeek-V3 has the sizes of its report") {
  // DeepSeek-AI 2024, arXiv 2412.19437: 671B parameters, 37B of them for a token.
  const ModelConfig model = deepseek_v3();
  CHECK(parameters_of(model, false) == Approx(671.03e9).epsilon(1e-4));
  CHECK(parameters_of(model, true) == Approx(37e9).epsilon(0.02));
  // A token is cached as 512 + 64 numbers a layer (section 2.1.1).
  const ForwardOperators one = forward_operators(model, kAny, {}, {.context = 999});
  CHECK(one.cache_bytes == 61.0 * 576 * 2 * 1000);
  const ForwardOperators expanded = forward_operators(model, kAny, {}, {.context = 999, .expanded_cache = true});
  CHECK(expanded.cache_bytes == 61.0 * 128 * (128 + 64 + 128) * 2 * 1000);
  CHECK(one.total.stored_weight == expanded.total.stored_weight);
}

TEST_CASE("latent attention takes the way of fewer operations, each counted by hand") {
  const ModelConfig model = deepseek_v3();
  const double heads = 128, rank = 512, plain = 128, rotary = 64, value = 128;
  const ForwardOperators decode = forward_operators(model, kAny, {}, {.context = 4000});
  CHECK(work_of(decode, "absorb_k").operations == 2 * heads * plain * rank);
  CHECK(work_of(decode, "absorb_v").operations == 2 * heads * rank * value);
  CHECK(work_of(decode, "qk_matmul").operations == 2 * heads * 4001 * (rank + rotary));
  CHECK(work_of(decode, "sv_matmul").operations == 2 * heads * 4001 * rank);
  CHECK(work_of(decode, "qk_matmul").load_kv_cache == 4001 * (rank + rotary) * 2);
  CHECK(work_of(decode, "kv_a_norm").store_kv_cache == rank * 2);
  CHECK(work_of(decode, "rope").store_kv_cache == rotary * 2);
  const ForwardOperators prefill = forward_operators(model, kAny, {}, {.rows = 4000});
  CHECK(work_of(prefill, "kv_b_proj").operations == 2 * 4000 * rank * heads * (plain + value));
  CHECK(work_of(prefill, "qk_matmul").operations == 2 * heads * (4000.0 * 4001 / 2) * (plain + rotary));
  CHECK(work_of(prefill, "qk_matmul").load_act == 2 * 2 * heads * 4000 * (plain + rotary));
  const ForwardOperators fused = forward_operators(model, kAny, {}, {.context = 4000, .fused = true});
  // A row is read once: it is the key and, but for its rotated part, the value of all heads.
  const double block = std::ceil(1e5 / (2 * (rank + rotary)));
  CHECK(work_of(fused, "fused_attention").load_kv_cache == std::ceil(heads / block) * 4001 * (rank + rotary) * 2);
}

TEST_CASE("matrices take two operations a number and token, attention four a pair and channel") {
  const ModelConfig model = grouped();
  const ModelShape shape{.vocab = 1003,
                         .hidden = 96,
                         .layers = 5,
                         .heads = 8,
                         .kv_heads = 2,
                         .head_dim = 20,
                         .intermediate = 200,
                         .weight_bytes = 2,
                         .head_bytes = 2,
                         .cache_bytes = 2};
  double matrices = 0;
  for (const WeightSpec& spec : weight_list(model))
    if (spec.shape.size() == 2 && spec.name != "model.embed_tokens.weight")
      matrices += static_cast<double>(spec.shape[0]) * static_cast<double>(spec.shape[1]);
  for (const auto& [rows, context] : {std::pair(1, 70), std::pair(6, 33), std::pair(40, 0)}) {
    ForwardShape forward{.context = static_cast<double>(context), .rows = static_cast<double>(rows)};
    forward.logit_rows = rows;
    const ForwardOperators costs = forward_operators(model, kAny, {}, forward);
    double products = 0, attention = 0, weights = 0;
    for (const OperatorCost& cost : costs.operators) {
      const std::string& name = cost.work.name;
      const bool matrix = name.ends_with("_proj") || name == "lm_head";
      if (matrix) products += cost.work.layers * cost.work.operations;
      if (name.ends_with("_matmul")) attention += cost.work.layers * cost.work.operations;
      if (matrix || name == "embedding") weights += cost.work.layers * cost.work.load_weight;
    }
    double pairs = 0;
    for (int row = 0; row < rows; ++row) pairs += context + row + 1;
    CHECK(products == 2 * matrices * rows);
    CHECK(attention == 5 * 4 * 8 * 20 * pairs);
    // What model_costs.h says, by its own arithmetic.
    CHECK(products + attention == forward_cost(shape, rows, context).operations);
    CHECK(weights == forward_cost(shape, rows, context).weight_bytes);
    CHECK(costs.total.store_kv_cache == forward_cost(shape, rows, context).cache_written_bytes);
    CHECK(costs.total.load_kv_cache == forward_cost(shape, rows, context + rows).cache_read_bytes);
    CHECK(costs.cache_bytes == stored_cache_bytes(shape, context + rows));
  }
}

TEST_CASE("what a token sees: windows and trees, counted one by one") {
  ModelConfig model = grouped();
  model.sliding_window = 12;
  model.full_layers = {1, 4};
  for (const std::vector<double>& levels :
       {std::vector<double>{1}, {1, 1, 1, 1}, {1, 4, 8, 2}, {1, 3, 3, 1, 1}, std::vector<double>(30, 1)})
    for (const int context : {0, 5, 11, 12, 40}) {
      ForwardShape shape{.context = static_cast<double>(context), .tree = levels};
      const bool chain = std::ranges::all_of(levels, [](double count) { return count == 1; });
      if (chain) {
        shape.tree.clear();
        shape.rows = static_cast<double>(levels.size());
      }
      const ForwardOperators costs = forward_operators(model, kAny, {}, shape);
      for (const auto& [suffix, window, layers] : {std::tuple("", 100000, 2), std::tuple(".window", 12, 3)}) {
        const Counted counted = count_seen(parents_of(levels), context, window);
        const OperatorWork& work = work_of(costs, std::string("qk_matmul") + suffix);
        INFO(levels.size() << " levels, " << context << " tokens" << suffix);
        CHECK(work.layers == layers);
        CHECK(work.operations == 2 * 8 * 20 * counted.pairs);
        CHECK(work_of(costs, std::string("softmax") + suffix).load_act == 8 * counted.pairs * 2);
        if (chain || window > 1000) CHECK(work.load_kv_cache == counted.keys.size() * 2 * 20 * 2);
      }
    }
}

TEST_CASE("fused attention reads keys once a block of queries") {
  const ModelConfig model = grouped();
  Hardware hardware = kAny;
  hardware.onchip_buffer = 16 * 20 * 2;  // 16 rows of 20 channels in 16 bits
  for (const int context : {0, 50})
    for (const int rows : {1, 4, 5, 37}) {
      // Four query heads share a key head: a block of 16 rows is four tokens of them.
      double keys = 0;
      for (int first = 0; first < rows; first += 4) keys += context + std::min(first + 4, rows);
      const ForwardOperators costs = forward_operators(
          model, hardware, {},
          {.context = static_cast<double>(context), .rows = static_cast<double>(rows), .fused = true});
      CHECK(work_of(costs, "fused_attention").load_kv_cache == keys * 2 * (20 + 20) * 2);
    }
}

TEST_CASE("rows are read the experts that they touch, all are in memory") {
  const ModelConfig model = config_of({{"model_type", "mixtral"},
                                       {"vocab_size", 500},
                                       {"hidden_size", 32},
                                       {"intermediate_size", 48},
                                       {"num_hidden_layers", 3},
                                       {"num_attention_heads", 4},
                                       {"num_key_value_heads", 2},
                                       {"num_local_experts", 8},
                                       {"num_experts_per_tok", 2}});
  for (const int rows : {1, 4, 64}) {
    const ForwardOperators costs =
        forward_operators(model, kAny, {}, {.context = 7, .rows = static_cast<double>(rows)});
    const OperatorWork& gate = work_of(costs, "expert_gate_proj");
    CHECK(gate.operations == 2 * 32 * 48 * 2 * rows);
    CHECK(gate.load_weight == Approx(8 * (1 - std::pow(0.75, rows)) * 32 * 48 * 2));
    CHECK(gate.stored_weight == 8 * 32 * 48 * 2);
    CHECK(work_of(costs, "router").load_weight == 32 * 8 * 2);
  }
}

TEST_CASE("quantised weights have scales and are converted, what is not quantised keeps its bits") {
  const ModelConfig model = grouped();
  const ForwardOperators four = forward_operators(model, kAny, {4, 16, 16}, {.context = 7});
  // 200 inputs are two groups of 128, 96 are one.
  CHECK(work_of(four, "down_proj").load_weight == 200 * 96 / 2 + 96 * 2 * 2);
  CHECK(work_of(four, "gate_proj").load_weight == 96 * 200 / 2 + 200 * 2);
  CHECK(work_of(four, "gate_proj").operations == 4 * 96 * 200);
  CHECK(work_of(four, "lm_head").load_weight == 96 * 1003 * 2);
  const ForwardOperators eight = forward_operators(model, kAny, {8, 8, 16}, {.context = 7});
  CHECK(work_of(eight, "gate_proj").operations == 2 * 96 * 200);
  CHECK(work_of(eight, "gate_proj").bits == 8);
  CHECK(work_of(eight, "qk_matmul").bits == 16);
  CHECK(work_of(eight, "softmax").bits == 16);
}

TEST_CASE("an early exit passes the first layers and the head") {
  const ModelConfig model = grouped();
  const ForwardOperators all = forward_operators(model, kAny, {}, {.context = 7}),
                         two = forward_operators(model, kAny, {}, {.context = 7, .layers = 2});
  CHECK(work_of(two, "q_proj").layers == 2);
  CHECK(work_of(two, "lm_head").operations == work_of(all, "lm_head").operations);
  CHECK(two.cache_bytes == all.cache_bytes * 2 / 5);
  CHECK_THROWS_WITH(forward_operators(model, kAny, {}, {.layers = 6}), Catch::Contains("the model has 5"));
}

TEST_CASE("an operator is bound by the lower roof") {
  const Roofs roofs{.bandwidth = 10, .launch = 0.5};
  const OperatorCost read = on_roofline({.name = "read", .operations = 100, .load_weight = 50}, 40, roofs);
  CHECK(read.bound == Bound::Memory);
  CHECK(read.performance == 20);
  CHECK(read.seconds == 5.5);
  const OperatorCost computed = on_roofline({.name = "computed", .operations = 400, .load_weight = 50}, 40, roofs);
  CHECK(computed.bound == Bound::Compute);
  CHECK(computed.performance == 40);
  CHECK(computed.seconds == 10.5);
}

TEST_CASE("a device's file says what it has, and where it is wrong") {
  const auto read = [](const std::string& text) { return parse_hardware(parse_yaml(text, "device.yaml")); };
  const std::string head = "name: m\nsource: s\n";
  const Hardware machine =
      read(head + "bandwidth: 2e10\npeak: {bf16: 3e11}\nworking_sets: [{bytes: 1e6, bandwidth: 9e10}]\n");
  CHECK(machine.peak_of(16) == 3e11);
  CHECK(machine.bandwidth_over(1e6) == 9e10);
  CHECK(machine.bandwidth_over(1e6 + 1) == 2e10);
  CHECK_THROWS_WITH(machine.peak_of(32),
                    "device.yaml:4: m has no peak for products of 32 bits; it has bf16: expected fp32");
  CHECK_THROWS_WITH(read(head + "bandwith: 2e10\npeak: {bf16: 3e11}\n"),
                    Catch::Contains("device.yaml:3: ") && Catch::Contains("did you mean 'bandwidth'"));
  CHECK_THROWS_WITH(read(head + "bandwidth: 20\npeak: {bf16: 3e11}\n"), Catch::Contains("device.yaml:3: "));
  CHECK_THROWS_WITH(read(head + "bandwidth: 2e10\npeak: {fp12: 3e11}\n"), Catch::Contains("device.yaml:4: "));
  CHECK_THROWS_WITH(read(head + "bandwidth: 2e10\npeak: {}\n"), Catch::Contains("no number format"));
  CHECK_THROWS_WITH(read("name: m\nbandwidth: 2e10\npeak: {fp16: 1e12}\n"), Catch::Contains("source"));
  CHECK_THROWS_WITH(read("just words\n"), Catch::Contains("expected a mapping"));
  CHECK_THROWS_WITH(device("nvidia_A10"), Catch::Contains("did you mean 'nvidia_A100'?"));
}

TEST_CASE("the seeds of the devices' fuzzer are read or refused") {
  testing::for_each_seed("hardware_fuzz", [](const std::string& bytes) { CHECK_NOTHROW(fuzz::hardware(bytes)); });
}
