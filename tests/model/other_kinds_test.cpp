// Folders that are something else than a model: each is refused with one line that says what it is and what is
// expected.
#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"
#include "framework/model/load_model.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::TemporaryFolder;

// The one line of the Error.
std::string refusal(const std::filesystem::path& folder) {
  try {
    load_model(folder);
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  FAIL("not refused");
  return "";
}

void check_says(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) CHECK_THAT(message, Catch::Matchers::Contains(part));
}

std::string config_refusal(const std::string& config) {
  const TemporaryFolder folder;
  folder.write("config.json", config);
  return refusal(folder.path());
}

TEST_CASE("draft heads are known by their config.json") {
  const auto named = [](const std::string& more) { return config_refusal(testing::llama_config(more)); };
  check_says(named(R"("architectures": ["LlamaForCausalLMEagle3"])"),
             {"config.json: 'architectures' is 'LlamaForCausalLMEagle3'", "a draft head (EAGLE-3)",
              "a whole model is expected (llama, mistral"});
  check_says(named(R"("architectures": ["LlamaForCausalLMEagle"])"), {"a draft head (EAGLE)"});
  check_says(named(R"("architectures": ["Eagle3DraftModel"])"), {"EAGLE-3"});
  check_says(named(R"("architectures": ["DFlash2DraftModel"], "model_type": "qwen3")"),
             {"'DFlash2DraftModel'", "DFlash"});
  check_says(named(R"("architectures": ["MLPSpeculatorPreTrainedModel"], "model_type": "mlp_speculator")"),
             {"an MLP speculator"});
  check_says(named(R"("architectures": ["DeepSeekMTPModel"])"), {"multi-token prediction"});
  check_says(named(R"("draft_vocab_size": 32000)"), {"'draft_vocab_size' is 32000", "EAGLE-3"});
  // A Medusa head has no model_type of its own.
  check_says(
      config_refusal(
          R"({"medusa_num_heads": 5, "medusa_num_layers": 1, "base_model_name_or_path": "lmsys/vicuna-7b-v1.3"})"),
      {"'medusa_num_heads' is 5", "Medusa"});
  check_says(config_refusal(R"({"hydra_num_heads": 4})"), {"Hydra"});
  check_says(config_refusal(R"({"model_type": "eagle", "architectures": ["EAGLEModel"]})"), {"EAGLE"});
  check_says(config_refusal(R"({"model_type": "medusa"})"), {"'model_type' is 'medusa'"});
}

TEST_CASE("models that do not continue a text, and quantised ones, are known by their config.json") {
  const auto named = [](const std::string& more) { return config_refusal(testing::llama_config(more)); };
  for (const char* other : {"LlamaForSequenceClassification", "Qwen2ForRewardModel", "LlamaForTokenClassification"})
    check_says(named(R"("architectures": [")" + std::string(other) + R"("])"), {other, "ForCausalLM is expected"});
  for (const char* method : {"fp8", "bitsandbytes", "compressed-tensors"})
    check_says(named(R"("quantization_config": {"quant_method": ")" + std::string(method) + R"("})"),
               {"'quantization_config' is given", method, "convert the checkpoint to float32, float16 or bfloat16"});
  check_says(named(R"("quantization_config": {"bits": 4})"), {"no quant_method"});
  check_says(named(R"("compression_config": {"quant_method": "sparseml"})"),
             {"'compression_config' is given ('sparseml')"});
  for (const char* same : {"LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel", "MistralForCausalLM"})
    CHECK(
        parse_model_config(testing::llama_config(R"("architectures": [")" + std::string(same) + R"("])"), "config.json")
            .family == "llama");
}

TEST_CASE("models of texts and images, and code that a folder brings along, are named") {
  for (
      const char* config :
      {R"({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"model_type": "gemma3_text"}})",
       R"({"model_type": "llama4", "text_config": {"model_type": "llama4_text"}})",
       R"({"model_type": "llava", "text_config": {"model_type": "llama"}, "vision_config": {}})"})
    check_says(config_refusal(config),
               {"'text_config' is given", "texts and images", "the language model alone is expected"});
  check_says(
      config_refusal(
          R"({"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"], "vision_config": {}})"),
      {"'vision_config' is given"});
  check_says(config_refusal(R"({"model_type": "x", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}})"),
             {"unknown architecture 'x'", "its own code", "auto_map"});
}

TEST_CASE("adapters are refused, beside a model too") {
  const TemporaryFolder folder;
  folder.write("adapter_config.json",
               R"({"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "r": 16})");
  folder.write("adapter_model.safetensors", "x");
  check_says(refusal(folder.path()),
             {"this is an adapter (LORA of 'meta-llama/Llama-2-7b-hf'), no model", "merge_and_unload()"});
  testing::make_model(folder.path(), testing::llama_config(), 1);
  check_says(refusal(folder.path()), {"this is an adapter (LORA"});
  folder.write("adapter_config.json", R"({"peft_type": 7})");
  check_says(refusal(folder.path()), {"of unknown kind", "an unknown model"});
  const TemporaryFolder weights;
  weights.write("adapter_model.bin", "x");
  check_says(refusal(weights.path()), {"this is an adapter (adapter_model.bin)"});
}

TEST_CASE("other formats are named, without a config.json and beside one") {
  const TemporaryFolder folder;
  check_says(refusal(folder.path()), {"config.json cannot be opened", "config.json and model.safetensors"});
  check_says(refusal(folder.path() / "none"), {"no such folder"});
  check_says(refusal(folder.write("q4.gguf", "GGUF")), {"is not a folder but a GGUF file"});
  check_says(refusal(folder.path()), {"there is no config.json, but q4.gguf: GGUF is not read"});
  folder.write("config.json", testing::llama_config());
  check_says(refusal(folder.path()),
             {"neither model.safetensors nor model.safetensors.index.json is there; q4.gguf is"});
  const auto beside_config = [](const char* name) {
    const TemporaryFolder other;
    other.write("config.json", testing::llama_config());
    other.write(name, "x");
    return refusal(other.path());
  };
  check_says(beside_config("pytorch_model.bin"),
             {"pytorch_model.bin is, but it is not read: convert it to safetensors"});
  check_says(beside_config("pytorch_model.bin.index.json"), {"convert them to safetensors"});
  check_says(beside_config("consolidated.safetensors"), {"Mistral's own layout"});
  check_says(beside_config("consolidated.00.pth"), {"consolidated.00.pth is"});
  check_says(beside_config("tf_model.h5"), {"TensorFlow's"});
  check_says(beside_config("flax_model.msgpack"), {"Flax's"});
  check_says(beside_config("weights.safetensors"),
             {"weights.safetensors is, but a checkpoint in one file must have the name above"});
  const TemporaryFolder original;
  original.write("params.json", "{}");
  check_says(refusal(original.path()), {"the original Llama or Mistral files"});
  // A GGUF file beside a whole checkpoint is nobody's business.
  const TemporaryFolder both;
  testing::make_model(both.path(), testing::llama_config(), 1);
  both.write("q4.gguf", "GGUF");
  CHECK(load_model(both.path())->config().family == "llama");
}

TEST_CASE("a download that stopped halfway says which files are missing") {
  const TemporaryFolder folder;
  folder.write("config.json", testing::llama_config());
  folder.write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "model-00001-of-00003.safetensors", "b": "model-00002-of-00003.safetensors", "c": "model-00003-of-00003.safetensors"}})");
  folder.write("model-00002-of-00003.safetensors", "x");
  check_says(refusal(folder.path()),
             {"index.json: names 3 files, missing: model-00001-of-00003.safetensors and 1 more", "download"});
  folder.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n");
  check_says(refusal(folder.path()),
             {"model.safetensors: a Git LFS pointer stands in the place of the file", "git lfs pull"});
}

TEST_CASE("heads, adapters and quantised weights are known by their tensors where config.json does not tell") {
  const TemporaryFolder folder;
  testing::make_model(folder.path(), testing::llama_config(), 1);
  const auto with = [&](const std::string& name) {
    const auto file = SafetensorsFile::open(folder.path() / "model.safetensors");
    StoredTensors tensors = file.tensors();
    tensors[name] = tensors.begin()->second;
    const TemporaryFolder other;
    std::filesystem::copy(folder.path() / "config.json", other.path() / "config.json");
    write_safetensors(other.path() / "model.safetensors", tensors);
    const std::string message = refusal(other.path());
    check_says(message, {("holds the tensor '" + name + "'").c_str()});
    return message;
  };
  check_says(with("fc.weight"), {"this is a draft head (EAGLE)"});
  check_says(with("midlayer.mlp.up_proj.weight"), {"EAGLE-3"});
  check_says(with("d2t"), {"EAGLE-3"});
  check_says(with("medusa_head.0.0.linear.weight"), {"Medusa"});
  check_says(with("0.0.linear.weight"), {"Medusa"});
  check_says(with("hydra_mlp.0.weight"), {"Hydra"});
  check_says(with("speculator.emb.0.weight"), {"an MLP speculator"});
  check_says(with("hidden_norm.weight"), {"DFlash"});
  check_says(with("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"), {"an adapter"});
  check_says(with("model.layers.0.self_attn.q_proj.lora_B.weight"), {"an adapter (LoRA)"});
  check_says(with("model.layers.0.mlp.up_proj.qweight"), {"GPTQ or AWQ"});
  check_says(with("model.layers.0.mlp.up_proj.weight_scale_inv"), {"FP8"});
  check_says(with("model.layers.0.mlp.up_proj.weight_packed"), {"compressed-tensors"});
}

TEST_CASE("a published head's layout is refused for what it is") {
  const auto file = testing::data_file("data/head_layouts/dflash2.yaml");
  if (!file) return;
  const std::string text = testing::read_file(*file);
  const std::size_t at = text.find("architectures: [") + std::string("architectures: [").size();
  const std::string name = text.substr(at, text.find(']', at) - at);
  check_says(config_refusal(testing::small_config("qwen3", R"("architectures": [")" + name + R"("])")),
             {name.c_str(), "a draft head (DFlash)"});
}

}  // namespace
}  // namespace foretell
