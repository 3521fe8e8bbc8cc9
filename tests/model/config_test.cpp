// config.json in its spellings, and what is refused.
#include "framework/base/error.h"
#include "framework/model/files/model_config.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::gpt2_config;
using testing::llama_config;

ModelConfig parse(const std::string& text) { return parse_model_config(text, "config.json"); }

TEST_CASE("the old and the new spelling of rotary scaling mean the same") {
  const auto both = [](const std::string& old_spelling, const std::string& new_spelling) {
    return parse(llama_config(old_spelling)).rope == parse(llama_config(new_spelling)).rope;
  };
  CHECK(both(R"("rope_theta": 500.0)", R"("rope_parameters": {"rope_type": "default", "rope_theta": 500.0})"));
  CHECK(both(R"("rope_theta": 500.0, "rope_scaling": null)", R"("rope_parameters": {"rope_theta": 500})"));
  CHECK(both(R"("rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0})",
             R"("rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0})"));
  CHECK(both(R"("rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "type": "linear", "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64})",
             R"("rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64})"));
  CHECK(both(R"("rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})",
             R"("original_max_position_embeddings": 64, "rope_parameters": {"rope_type": "yarn", "factor": 4.0})"));
  CHECK(parse(llama_config(R"("rope_scaling": {"type": "yarn", "original_max_position_embeddings": 64})")).rope.factor == 4.0);
}

TEST_CASE("defaults are those of each family") {
  const ModelConfig llama = parse(llama_config());
  CHECK(llama.head_dim == 8);
  CHECK(llama.rope.theta == 10000.0);
  CHECK_FALSE(llama.tie_embeddings);
  CHECK_FALSE(llama.qkv_bias);
  CHECK(llama.bos == 1);
  CHECK(llama.eos == std::vector<Token>{2});
  const ModelConfig gpt2 = parse(gpt2_config());
  CHECK(gpt2.tie_embeddings);
  CHECK(gpt2.intermediate_size == 160);
  CHECK(gpt2.activation == Activation::GeluTanh);
  CHECK(gpt2.eos.empty());  // its own id is beyond this vocabulary
  const ModelConfig named = parse(R"({"architectures": ["Qwen2ForCausalLM"], "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8,
      "num_hidden_layers": 1, "num_attention_heads": 2})");
  CHECK(named.family == "qwen2");
  CHECK(named.num_kv_heads == 2);
  CHECK(named.qkv_bias);
  CHECK(named.eos.empty());
  CHECK_FALSE(named.dtype.has_value());
}

TEST_CASE("stop tokens come from generation_config.json where it is there") {
  const testing::TemporaryFolder folder;
  folder.write("config.json", llama_config(R"("eos_token_id": [5, 6])"));
  CHECK(load_model_config(folder.path()).eos == std::vector<Token>{5, 6});
  folder.write("generation_config.json", R"({"eos_token_id": [7, 8, 9], "bos_token_id": 3})");
  CHECK(load_model_config(folder.path()).eos == std::vector<Token>{7, 8, 9});
  CHECK(load_model_config(folder.path()).bos == 3);
  folder.write("generation_config.json", R"({"do_sample": true})");
  CHECK(load_model_config(folder.path()).eos == std::vector<Token>{5, 6});
  folder.write("generation_config.json", "{");
  CHECK_THROWS_WITH(load_model_config(folder.path()), Contains("generation_config.json: not valid JSON"));
}

TEST_CASE("a config that is written is read back the same") {
  for (const std::string& text :
       {llama_config(), testing::bitllama_config(),
        gpt2_config(R"("n_inner": 72, "scale_attn_by_inverse_layer_idx": true, "eos_token_id": [3, 4])"),
        llama_config(R"("attention_bias": true, "mlp_bias": true, "head_dim": 12, "partial_rotary_factor": 0.5, "bos_token_id": null)"),
        llama_config(R"("rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 0.5, "mscale": 1.0, "truncate": false})"),
        llama_config(R"("rope_interleave": true, "rope_scaling": {"rope_type": "llama3", "factor": 8.0})")}) {
    const ModelConfig config = parse(text);
    CHECK(parse(model_config_json(config)) == config);
  }
}

TEST_CASE("configs that cannot be run are refused with the key") {
  const auto refused = [](const std::string& text, const std::string& part) {
    CHECK_THROWS_WITH(parse(text), Contains("config.json") && Contains(part));
  };
  refused("[]", "object is expected");
  refused("{}", "known: llama, qwen2, gpt2");
  refused(R"({"model_type": "lama"})", "did you mean 'llama'");
  refused(R"({"model_type": "mamba"})", "known: llama, qwen2, gpt2");
  refused(R"({"model_type": "llama"})", "'vocab_size' is missing");
  refused(llama_config(R"("head_dim": 7)"), "even number");
  refused(llama_config(R"("head_dim": -2)"), "'head_dim' is -2");
  refused(llama_config(R"("num_key_value_heads": 4)"), "does not divide the 6 attention heads");
  refused(llama_config(R"("hidden_act": "mish")"), "'hidden_act' is 'mish'");
  refused(llama_config(R"("rope_scaling": {"type": "dynamic", "factor": 2.0})"), "'rope_scaling.type' is 'dynamic'");
  refused(llama_config(R"("rope_scaling": {"rope_type": "longrope"})"), "known: default, linear, llama3, yarn");
  refused(llama_config(R"("rope_scaling": {"rope_type": "linear"})"), "'rope_scaling.factor' is missing");
  refused(llama_config(R"("rope_scaling": {"rope_type": "llama3", "factor": 2.0, "high_freq_factor": 1.0})"),
          "must exceed low_freq_factor");
  refused(llama_config(R"("rope_theta": -1)"), "'rope_theta' is -1");
  refused(llama_config(R"("eos_token_id": "two")"), "'eos_token_id' holds two");
  refused(llama_config(R"("dtype": null, "torch_dtype": "int8")"), "'torch_dtype' is 'int8'");
  refused(gpt2_config(R"("n_inner": 0)"), "'n_inner' is 0");
  refused(gpt2_config(R"("add_cross_attention": true)"), "add_cross_attention");
  const std::string qwen2 = R"({"model_type": "qwen2", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 4,
      "num_attention_heads": 2, "max_position_embeddings": 512)";
  refused(qwen2 + R"(, "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 2})",
          "2 of 4 layers would use a window of 64");
  refused(qwen2 + R"(, "layer_types": ["full_attention", "sliding_attention"]})", "sliding_attention");
  CHECK(parse(qwen2 + R"(, "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 4})").num_layers == 4);
}

std::vector<NewTensor> zeros(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& list) {
  std::vector<NewTensor> tensors;
  for (const auto& [name, shape] : list) tensors.push_back({name, StoredType::F32, shape, [](std::span<std::byte>) {}});
  return tensors;
}

TEST_CASE("weights that do not fit the config are refused with name and shapes") {
  const testing::TemporaryFolder folder;
  folder.write("config.json", R"({"model_type": "llama", "vocab_size": 6, "hidden_size": 4, "intermediate_size": 3, "num_hidden_layers": 1,
      "num_attention_heads": 1, "tie_word_embeddings": true})");
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> good = {{"model.embed_tokens.weight", {6, 4}},
                                                                               {"model.norm.weight", {4}},
                                                                               {"model.layers.0.input_layernorm.weight", {4}},
                                                                               {"model.layers.0.post_attention_layernorm.weight", {4}},
                                                                               {"model.layers.0.self_attn.q_proj.weight", {4, 4}},
                                                                               {"model.layers.0.self_attn.k_proj.weight", {4, 4}},
                                                                               {"model.layers.0.self_attn.v_proj.weight", {4, 4}},
                                                                               {"model.layers.0.self_attn.o_proj.weight", {4, 4}},
                                                                               {"model.layers.0.mlp.gate_proj.weight", {3, 4}},
                                                                               {"model.layers.0.mlp.up_proj.weight", {3, 4}},
                                                                               {"model.layers.0.mlp.down_proj.weight", {4, 3}}};
  const auto load = [&](const auto& list) {
    write_safetensors(folder.path() / "model.safetensors", zeros(list));
    return load_model(folder.path());
  };
  CHECK(load(good)->config().num_layers == 1);
  auto short_names = good;
  for (auto& [name, shape] : short_names) name = name.substr(6);
  CHECK(load(short_names)->config().num_layers == 1);
  auto harmless = good;
  harmless.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {2}});
  harmless.push_back({"lm_head.weight", {6, 4}});
  harmless.push_back({"value_head.weight", {1, 4}});
  CHECK(load(harmless)->config().num_layers == 1);

  auto missing = good;
  missing.pop_back();
  CHECK_THROWS_WITH(load(missing), Contains("model.safetensors") && Contains("'model.layers.0.mlp.down_proj.weight' [4, 3] is missing"));
  auto wrong = good;
  wrong[0].second = {7, 4};
  CHECK_THROWS_WITH(load(wrong), Contains("'model.embed_tokens.weight' has shape [7, 4], config.json asks for [6, 4]"));
  for (const char* name :
       {"model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_norm.weight"}) {
    auto extra = good;
    extra.push_back({name, {4}});
    CHECK_THROWS_WITH(load(extra), Contains(std::string("'") + name + "' [4] has no place"));
  }
  auto tensors = zeros(good);
  tensors[1].type = StoredType::I32;
  write_safetensors(folder.path() / "model.safetensors", tensors);
  CHECK_THROWS_WITH(load_model(folder.path()), Contains("'model.norm.weight' is stored as I32"));
  CHECK_THROWS_WITH(load_model(folder.path() / "none"), Contains("no such folder"));
  CHECK_THROWS_WITH(load_model(folder.path() / "config.json"), Contains("is not a folder"));
}

TEST_CASE("the type of a model is the caller's, else the config's, else the weights'") {
  const testing::TemporaryFolder folder;
  const auto type_of = [&](const ModelLoadOptions& options) {
    const auto model = load_model(folder.path(), options);
    ForwardOptions taps;
    taps.taps = {0};
    const auto cache = model->make_cache(1);
    const Tokens token = {1};
    return model->forward(ForwardItem{TokenSpan(token), ChainShape{}, cache.get(), LogitRows::None}, taps).taps[0].scalar_type();
  };
  testing::make_model(folder.path(), llama_config(R"("dtype": "bfloat16")"), 1);
  CHECK(type_of({}) == at::kBFloat16);
  CHECK(type_of({.dtype = at::kFloat, .device = at::kCPU}) == at::kFloat);
  folder.write("config.json", llama_config(R"("dtype": null)"));
  CHECK(type_of({}) == at::kBFloat16);
  CHECK(parse_dtype("bf16") == at::kBFloat16);
  CHECK(parse_dtype("float32") == at::kFloat);
  CHECK_THROWS_WITH(parse_dtype("int8"), Contains("known: f32, bf16, f64"));
  CHECK(parse_device("cpu").is_cpu());
  CHECK_THROWS_WITH(parse_device("tpu"), Contains("unknown device 'tpu'"));
  CHECK_THROWS_WITH(parse_device("cuda:x"), Contains("unknown device"));
}

TEST_CASE("random weights depend on the seed and on nothing else") {
  const testing::TemporaryFolder folder;
  const auto bytes = [&](const char* name, std::uint64_t seed) {
    return testing::read_file(testing::make_model(folder.path() / name, llama_config(), seed) / "model.safetensors");
  };
  const std::string first = bytes("a", 1);
  CHECK(first == bytes("b", 1));
  CHECK(first != bytes("c", 2));
  const auto file = SafetensorsFile::open(folder.path() / "a/model.safetensors");
  const at::Tensor head = testing::to_tensor(file.at("lm_head.weight"));
  CHECK(head[0][0].item<float>() == Approx(-0.29911989f).epsilon(1e-6));
  const float deviation = 3.0f / std::sqrt(48.0f);
  CHECK(std::abs(head.mean().item<float>()) < 0.02f);
  CHECK(head.std().item<float>() == Approx(deviation).epsilon(0.03));
}

}  // namespace
}  // namespace foretell
