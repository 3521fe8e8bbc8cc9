// config.json in its spellings, and what is refused.
#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "framework/model/rope.h"
#include "framework/training/autograd/trainable_transformer.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::gpt2_config;
using testing::llama_config;
using testing::small_config;

ModelConfig parse(const std::string& text) { return parse_model_config(text, "config.json"); }

TEST_CASE("the old and the new spelling of rotary scaling mean the same") {
  const auto both = [](const std::string& old_spelling, const std::string& new_spelling) {
    return parse(llama_config(old_spelling)).rope == parse(llama_config(new_spelling)).rope;
  };
  CHECK(both(R"("rope_theta": 500.0)", R"("rope_parameters": {"rope_type": "default", "rope_theta": 500.0})"));
  CHECK(both(R"("rope_theta": 500.0, "rope_scaling": null)", R"("rope_parameters": {"rope_theta": 500})"));
  CHECK(both(R"("rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0})",
             R"("rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0})"));
  CHECK(both(
      R"("rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "type": "linear", "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64})",
      R"("rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64})"));
  CHECK(both(R"("rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})",
             R"("original_max_position_embeddings": 64, "rope_parameters": {"rope_type": "yarn", "factor": 4.0})"));
  CHECK(
      parse(llama_config(R"("rope_scaling": {"type": "yarn", "original_max_position_embeddings": 64})")).rope.factor ==
      4.0);
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
  const ModelConfig named =
      parse(R"({"architectures": ["Qwen2ForCausalLM"], "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8,
      "num_hidden_layers": 1, "num_attention_heads": 2})");
  CHECK(named.family == "qwen2");
  CHECK(named.num_kv_heads == 2);
  CHECK(named.qkv_bias);
  CHECK(named.eos.empty());
  CHECK_FALSE(named.dtype.has_value());
  const std::string sizes =
      R"(, "vocab_size": 60000, "hidden_size": 1024, "intermediate_size": 64, "num_hidden_layers": 30,
      "num_attention_heads": 16})";
  const auto bare = [&](const char* family) {
    return parse(R"({"model_type": ")" + std::string(family) + '"' + sizes);
  };
  CHECK((bare("mistral").num_kv_heads == 8 && bare("mistral").sliding_window == 4096 &&
         bare("mistral").context == 131072));
  CHECK(bare("qwen2").sliding_window == 0);
  const ModelConfig qwen3 =
      parse(R"({"model_type": "qwen3", "vocab_size": 10, "hidden_size": 64, "intermediate_size": 8,
      "num_hidden_layers": 1, "num_attention_heads": 32})");
  CHECK((qwen3.head_dim == 128 && qwen3.num_kv_heads == 32 && qwen3.sliding_window == 0));
  const ModelConfig neox = bare("gpt_neox");
  CHECK((neox.rope.partial == 0.25 && neox.rotary_dim() == 16 && neox.parallel_residual && neox.qkv_bias &&
         neox.activation == Activation::Gelu));
  CHECK(bare("phi3").eos == std::vector<Token>{32000});
  const ModelConfig mixtral = bare("mixtral");
  CHECK((mixtral.rope.theta == 1e6 && mixtral.moe.experts == 8 && mixtral.moe.experts_per_token == 2 &&
         mixtral.moe.normalised));
  CHECK(mixtral.sliding_window == 0);
  const ModelConfig qwen2_moe = bare("qwen2_moe");
  CHECK((qwen2_moe.moe.experts == 60 && qwen2_moe.moe.experts_per_token == 4 && !qwen2_moe.moe.normalised &&
         qwen2_moe.moe.shared_gated));
  CHECK((bare("qwen3_moe").moe.experts == 128 && bare("qwen3_moe").num_kv_heads == 4));
  CHECK((bare("olmoe").moe.experts == 64 && bare("olmoe").num_kv_heads == 16 &&
         bare("olmoe").eos == std::vector<Token>{50279}));
  const ModelConfig deepseek = bare("deepseek_v3");
  CHECK((deepseek.head_dim == 192 && deepseek.value_dim() == 128 && deepseek.rope.interleaved &&
         deepseek.moe.scale == 2.5));
  CHECK((deepseek.moe.dense_layers == std::vector<int>{0, 1, 2} && deepseek.moe.groups == 8 &&
         deepseek.moe.shared_size == 2048));
}

TEST_CASE("which layers have a window and which have experts is read as the families mean it") {
  const auto windowed = [](const ModelConfig& config) {
    std::string layers;
    for (int layer = 0; layer < config.num_layers; ++layer) layers += config.is_windowed(layer) ? 'w' : '-';
    return layers;
  };
  const std::string four =
      R"("num_hidden_layers": 4, "use_sliding_window": true, "sliding_window": 9, "max_window_layers": )";
  CHECK(windowed(parse(small_config("qwen2", four + "1"))) == "-www");
  CHECK(windowed(parse(small_config("qwen3", four + "9"))) == "----");
  CHECK(windowed(parse(small_config("qwen2_moe", four + "3"))) == "w-w-");
  CHECK(windowed(parse(small_config("qwen3_moe", four + "3"))) == "wwww");
  CHECK(windowed(parse(small_config("mistral", R"("sliding_window": null)"))) == "---");
  const auto sparse = [](const ModelConfig& config) {
    std::string layers;
    for (int layer = 0; layer < config.num_layers; ++layer) layers += config.is_sparse(layer) ? 's' : '-';
    return layers;
  };
  CHECK(sparse(parse(small_config(
            "qwen2_moe", R"("num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3, 99, -1])"))) ==
        "-s---s");
  CHECK(sparse(parse(small_config("deepseek_v3", R"("first_k_dense_replace": 2)"))) == "--s");
  CHECK(sparse(parse(small_config("deepseek_v3", R"("first_k_dense_replace": 5)"))) == "---");
}

TEST_CASE("LongRoPE ends with the context that its short factors are for") {
  const ModelConfig config =
      parse(small_config("phi3", R"("max_position_embeddings": 4096, "original_max_position_embeddings": 128,
      "rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2]})"));
  CHECK(config.context == 128);
  CHECK(config.rope.factor == 32.0);
  CHECK(rope_magnitude(config.rope) == Approx(std::sqrt(1 + std::log(32.0) / std::log(128.0))));
}

TEST_CASE("phi3's original context stands beside its scaling, not within it") {
  const std::string scaling =
      R"("max_position_embeddings": 16384, "rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1],
      "long_factor": [2, 2, 2, 2], "original_max_position_embeddings": 128})";
  const ModelConfig inner = parse(small_config("phi3", scaling));
  CHECK((inner.rope.original_context == 4096 && inner.context == 4096 && inner.rope.factor == 4.0));
  const ModelConfig both = parse(small_config("phi3", scaling + R"(, "original_max_position_embeddings": 256)"));
  CHECK((both.rope.original_context == 256 && both.context == 256 && both.rope.factor == 64.0));
  const ModelConfig llama = parse(llama_config(scaling));
  CHECK((llama.rope.original_context == 128 && llama.context == 128 && llama.rope.factor == 128.0));
}

TEST_CASE("a switch that is null is off, as Transformers reads it, one that is absent is the family's own") {
  const ModelConfig absent = parse(small_config("deepseek_v3"));
  CHECK((absent.rope.interleaved && absent.moe.normalised));
  const ModelConfig null = parse(small_config("deepseek_v3", R"("rope_interleave": null, "norm_topk_prob": null)"));
  CHECK_FALSE(null.rope.interleaved);
  CHECK_FALSE(null.moe.normalised);
  CHECK(parse(llama_config(R"("is_causal": true)")) == parse(llama_config()));
}

TEST_CASE("layers for prediction are counted by either of their names") {
  const auto counted = [](const char* more) { return parse(small_config("deepseek_v3", more)).prediction_layers; };
  CHECK(counted("") == 0);
  CHECK(counted(R"("num_nextn_predict_layers": 2)") == 2);
  CHECK(counted(R"("num_mtp_layers": 1)") == 1);
  CHECK(counted(R"("num_nextn_predict_layers": 2, "num_mtp_layers": 1)") == 2);
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
  for (
      const std::string& text :
      {llama_config(), testing::bitllama_config(),
       gpt2_config(R"("n_inner": 72, "scale_attn_by_inverse_layer_idx": true, "eos_token_id": [3, 4])"),
       llama_config(
           R"("attention_bias": true, "mlp_bias": true, "head_dim": 12, "partial_rotary_factor": 0.5, "bos_token_id": null)"),
       llama_config(
           R"("rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 0.5, "mscale": 1.0, "truncate": false})"),
       llama_config(R"("foretell_rope_interleave": true, "rope_scaling": {"rope_type": "llama3", "factor": 8.0})")}) {
    const ModelConfig config = parse(text);
    CHECK(parse(model_config_json(config)) == config);
  }
  for (const auto& [name, text] : testing::family_configs()) {
    INFO(name);
    const ModelConfig config = parse(text);
    CHECK(parse(model_config_json(config)) == config);
  }
  for (const std::string& text :
       {small_config("mistral", R"("sliding_window": null)"),
        small_config("gpt_neox", R"("rotary_pct": 1.0, "use_parallel_residual": false)"),
        small_config("gpt_neox", R"("attention_bias": false, "foretell_rope_interleave": true)"),
        small_config("phi3",
                     R"("max_position_embeddings": 4096, "original_max_position_embeddings": 128, "sliding_window": 20,
            "rope_scaling": {"type": "yarn", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2]})"),
        small_config("qwen2_moe",
                     R"("use_sliding_window": true, "sliding_window": 9, "qkv_bias": false, "norm_topk_prob": true)"),
        small_config("qwen3_moe", R"("use_sliding_window": true, "sliding_window": 9, "attention_bias": true)"),
        small_config("olmoe", R"("clip_qkv": 8.0)"),
        small_config(
            "deepseek_v3",
            R"("q_lora_rank": null, "num_nextn_predict_layers": 1, "n_shared_experts": null, "attention_bias": true,
            "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 1.0})")}) {
    const ModelConfig config = parse(text);
    CHECK(parse(model_config_json(config)) == config);
  }
}

TEST_CASE("configs that cannot be run are refused with the key") {
  const auto refused = [](const std::string& text, const std::string& part) {
    CHECK_THROWS_WITH(parse(text), Contains("config.json") && Contains(part));
  };
  refused("[]", "object is expected");
  refused("{}", "known: llama, mistral, qwen2, qwen3, phi3, gpt2, gpt_neox");
  refused(R"({"model_type": "lama"})", "did you mean 'llama'");
  refused(R"({"model_type": "mamba"})", "known: llama, mistral, qwen2, qwen3, phi3, gpt2, gpt_neox");
  refused(R"({"model_type": "llama"})", "'vocab_size' is missing");
  refused(llama_config(R"("head_dim": 7)"), "even number");
  refused(llama_config(R"("head_dim": -2)"), "'head_dim' is -2");
  refused(llama_config(R"("num_key_value_heads": 4)"), "does not divide the 6 attention heads");
  refused(llama_config(R"("hidden_act": "mish")"), "'hidden_act' is 'mish'");
  refused(llama_config(R"("rope_scaling": {"type": "dynamic", "factor": 2.0})"), "'rope_scaling.type' is 'dynamic'");
  refused(llama_config(R"("rope_scaling": {"rope_type": "longest"})"),
          "known: default, linear, llama3, yarn, longrope");
  refused(llama_config(R"("rope_scaling": {"rope_type": "longrope"})"), "'rope_scaling.short_factor' is missing");
  refused(llama_config(R"("rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 1]})"),
          "a list of 4 numbers");
  refused(
      llama_config(
          R"("rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1, 0, 1], "long_factor": [1, 1, 1, 1]})"),
      "numbers above 0");
  refused(llama_config(R"("rope_scaling": {"rope_type": "linear"})"), "'rope_scaling.factor' is missing");
  refused(llama_config(R"("rope_scaling": {"rope_type": "llama3", "factor": 2.0, "high_freq_factor": 1.0})"),
          "must exceed low_freq_factor");
  refused(llama_config(R"("rope_theta": -1)"), "'rope_theta' is -1");
  refused(llama_config(R"("eos_token_id": "two")"), "'eos_token_id' holds two");
  refused(llama_config(R"("dtype": null, "torch_dtype": "int8")"), "'torch_dtype' is 'int8'");
  refused(gpt2_config(R"("n_inner": 0)"), "'n_inner' is 0");
  refused(gpt2_config(R"("add_cross_attention": true)"), "add_cross_attention");
  const std::string qwen2 =
      R"({"model_type": "qwen2", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 4,
      "num_attention_heads": 2, "max_position_embeddings": 512)";
  refused(qwen2 + R"(, "layer_types": ["full_attention", "sliding_attention"]})", "for each of 4 layers");
  refused(small_config("qwen3", R"("layer_types": ["full_attention", "sliding_attention", "full_attention"])"),
          "use_sliding_window is false");
  refused(small_config("qwen3", R"("layer_types": ["full_attention", "linear_attention", "full_attention"])"),
          "holds 'linear_attention'");
  refused(small_config("mistral", R"("layer_types": ["full_attention", "sliding_attention", "full_attention"])"),
          "names 2 full layers");
  refused(small_config("mistral", R"("sliding_window": -1)"), "'sliding_window' is -1");
  refused(llama_config(R"("quantization_config": {"quant_method": "fp8"})"), "'quantization_config' is given ('fp8')");
  refused(small_config("phi3", R"("rope_scaling": {"type": "linear", "factor": 2.0})"), "known: default, longrope");
  refused(small_config("gpt_neox", R"("rotary_pct": 0.4)"),
          "'rotary_pct' is 0.4: of 8 elements of a head it rotates 3");
  refused(small_config("gpt_neox", R"("hidden_size": 50)"), "does not divide the hidden size 50");
  refused(small_config("mixtral", R"("num_experts_per_tok": 6)"),
          "'num_experts_per_tok' is 6, more than the 5 experts");
  refused(small_config("mixtral", R"("num_local_experts": 0)"), "'num_local_experts' is 0");
  refused(small_config("qwen3_moe", R"("num_experts": 16384, "num_hidden_layers": 4096)"), "more than 65536 experts");
  refused(small_config("qwen2_moe", R"("mlp_only_layers": [0.5])"), "'mlp_only_layers' holds 0.5");
  refused(small_config("olmoe", R"("head_dim": 10)"), "as wide as the hidden size");
  refused(small_config("deepseek_v3", R"("num_key_value_heads": 2)"), "as many as it has attention heads");
  refused(small_config("deepseek_v3", R"("scoring_func": "softmax")"), "'scoring_func' is 'softmax'; known: sigmoid");
  refused(small_config("deepseek_v3", R"("topk_method": "greedy")"), "known: noaux_tc");
  refused(small_config("deepseek_v3", R"("moe_layer_freq": 2)"), "'moe_layer_freq' is 2");
  refused(small_config("deepseek_v3", R"("n_group": 5)"), "cannot be divided");
  refused(small_config("deepseek_v3", R"("topk_group": 5)"), "more than the 4 groups");
  refused(small_config("deepseek_v3", R"("topk_group": 1, "num_experts_per_tok": 4)"),
          "the kept groups hold 3 experts");
  refused(small_config("deepseek_v3", R"("qk_rope_head_dim": 5)"), "even number");
  refused(small_config("deepseek_v3", R"("rope_scaling": {"type": "linear", "factor": 2.0, "mscale_all_dim": 0.5})"),
          "'rope_scaling.mscale_all_dim' is 0.5, but the scaling is not yarn");
  refused(small_config("deepseek_v3",
                       R"("rope_parameters": {"rope_type": "llama3", "factor": 2.0, "mscale_all_dim": 1.5})"),
          "'rope_parameters.mscale_all_dim' is 1.5, but the scaling is not yarn");
  for (const char* family : {"llama", "qwen2", "gpt2", "gpt_neox", "mixtral", "deepseek_v3"}) {
    refused(small_config(family, R"("is_causal": false)"), "'is_causal' is not true");
    refused(small_config(family, R"("is_causal": null)"), "'is_causal' is not true");
  }
  refused(
      small_config(
          "qwen3",
          R"("rope_parameters": {"full_attention": {"rope_theta": 100.0}, "sliding_attention": {"rope_theta": 10.0}})"),
      "'rope_parameters.full_attention' is given");
  refused(llama_config(R"("rope_parameters": {"sliding_attention": {"rope_theta": 10.0}})"),
          "'rope_parameters.sliding_attention' is given");
}

std::vector<NewTensor> zeros(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& list) {
  std::vector<NewTensor> tensors;
  for (const auto& [name, shape] : list) tensors.push_back({name, StoredType::F32, shape, [](std::span<std::byte>) {}});
  return tensors;
}

TEST_CASE("weights that do not fit the config are refused with name and shapes") {
  const testing::TemporaryFolder folder;
  folder.write(
      "config.json",
      R"({"model_type": "llama", "vocab_size": 6, "hidden_size": 4, "intermediate_size": 3, "num_hidden_layers": 1,
      "num_attention_heads": 1, "tie_word_embeddings": true})");
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> good = {
      {"model.embed_tokens.weight", {6, 4}},
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
  harmless.push_back({"lm_head.weight", {6, 4}});  // the embedding once more
  CHECK(load(harmless)->config().num_layers == 1);

  auto missing = good;
  missing.pop_back();
  CHECK_THROWS_WITH(load(missing), Contains("model.safetensors") &&
                                       Contains("'model.layers.0.mlp.down_proj.weight' [4, 3] is missing"));
  auto wrong = good;
  wrong[0].second = {7, 4};
  CHECK_THROWS_WITH(load(wrong), Contains("'model.embed_tokens.weight' has shape [7, 4], config.json asks for [6, 4]"));
  for (const char* name : {"model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias",
                           "model.layers.0.self_attn.q_norm.weight"}) {
    auto extra = good;
    extra.push_back({name, {4}});
    CHECK_THROWS_WITH(load(extra), Contains(std::string("'") + name + "' [4] has no place"));
  }
  auto several = good;
  for (const char* name : {"score.weight", "value_head.weight", "x"}) several.push_back({name, {4}});
  CHECK_THROWS_WITH(load(several),
                    Contains("'score.weight' [4] has no place in this llama model, and 2 more have none"));
  auto tensors = zeros(good);
  tensors[1].type = StoredType::I32;
  write_safetensors(folder.path() / "model.safetensors", tensors);
  CHECK_THROWS_WITH(load_model(folder.path()), Contains("'model.norm.weight' is stored as I32"));
  CHECK_THROWS_WITH(load_model(folder.path() / "none"), Contains("no such folder"));
  CHECK_THROWS_WITH(load_model(folder.path() / "config.json"), Contains("is not a folder"));
}

TEST_CASE("a mixture of experts is refused if one of its tensors is missing or too many") {
  const testing::TemporaryFolder folder;
  testing::make_model(folder.path(), small_config("deepseek_v3", R"("num_nextn_predict_layers": 1)"), 3);
  const auto with = [&](const std::string& left_out, const std::string& added) {
    const auto file = SafetensorsFile::open(folder.path() / "model.safetensors");
    StoredTensors tensors = file.tensors();
    if (!left_out.empty()) REQUIRE(tensors.erase(left_out) == 1);
    if (!added.empty()) tensors[added] = tensors.at("model.norm.weight");
    const auto other = folder.path() / "other";
    std::filesystem::create_directories(other);
    std::filesystem::copy(folder.path() / "config.json", other / "config.json",
                          std::filesystem::copy_options::overwrite_existing);
    write_safetensors(other / "model.safetensors", tensors);
    return load_model(other);
  };
  CHECK(with("", "model.layers.3.enorm.weight")->config().num_layers == 3);
  CHECK_THROWS_WITH(with("", "model.layers.4.enorm.weight"),
                    Contains("'model.layers.4.enorm.weight' [48] has no place"));
  CHECK_THROWS_WITH(with("", "model.layers.0.mlp.gate.weight"), Contains("has no place"));
  CHECK_THROWS_WITH(with("model.layers.2.mlp.experts.11.up_proj.weight", ""),
                    Contains("'model.layers.2.mlp.experts.11.up_proj.weight' [20, 48] is missing"));
  CHECK_THROWS_WITH(with("model.layers.1.mlp.gate.e_score_correction_bias", ""), Contains("is missing"));
  for (const char* joined : {"model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.down_proj"}) {
    CHECK_THROWS_WITH(with("model.layers.1.mlp.experts.0.up_proj.weight", joined),
                      Contains(std::string("'") + joined + "' [48] holds all experts of a layer"));
  }
}

TEST_CASE("what training cannot do yet is said before it starts") {
  const auto refused = [](const std::string& family, const std::string& reason) {
    CHECK_THROWS_WITH(TrainableTransformer(parse(small_config(family)), at::kCPU),
                      Contains("a " + family + " model") && Contains(reason));
  };
  refused("mistral", "a sliding window");
  refused("qwen3", "norms on queries and keys");
  refused("phi3", "the layout of its weights");
  refused("gpt_neox", "attention beside its MLP");
  refused("qwen2_moe", "this kind of experts");
  refused("deepseek_v3", "latent attention");
  CHECK(TrainableTransformer(parse(small_config("mistral", R"("sliding_window": null)")), at::kCPU).parameter_count() >
        0);
}

TEST_CASE("the type of a model is the caller's, else the config's, else the weights'") {
  const testing::TemporaryFolder folder;
  const auto type_of = [&](const ModelLoadOptions& options) {
    const auto model = load_model(folder.path(), options);
    ForwardOptions aux_states;
    aux_states.aux_states = {0};
    const auto cache = model->make_cache(1);
    const Tokens token = {1};
    return model->forward(ForwardItem{TokenSpan(token), ChainShape{}, cache.get(), LogitRows::None}, aux_states)
        .aux_states[0]
        .scalar_type();
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
