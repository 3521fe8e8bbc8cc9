#include "framework/formats/other_kinds.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>

#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {
namespace {

constexpr const char* kHeadHelp =
    "it reads what its target computes and is no model by itself: name it as `head` of its drafter; here a whole model "
    "is expected";
constexpr const char* kAdapterHelp =
    "merge it into its base model (PEFT: merge_and_unload(), save_pretrained()) and give the merged folder";
constexpr const char* kQuantisedHelp =
    "quantised weights cannot be read; convert the checkpoint to float32, float16 or bfloat16";

// Draft heads by what their names hold, in lower case.
struct HeadName {
  const char* part;
  const char* what;
};
constexpr std::array kHeadNames = {HeadName{"eagle3", "EAGLE-3"},
                                   HeadName{"eagle", "EAGLE"},
                                   HeadName{"medusa", "Medusa"},
                                   HeadName{"hydra", "Hydra"},
                                   HeadName{"mlp_speculator", "an MLP speculator"},
                                   HeadName{"mlpspeculator", "an MLP speculator"},
                                   HeadName{"speculator", "a speculator"},
                                   HeadName{"dflash", "DFlash"},
                                   HeadName{"mtpmodel", "multi-token prediction"},
                                   HeadName{"draftmodel", "a draft head"}};
// Keys that no whole model's config.json has.
constexpr std::array kHeadKeys = {HeadName{"medusa_num_heads", "Medusa"},
                                  HeadName{"medusa_num_layers", "Medusa"},
                                  HeadName{"hydra_num_heads", "Hydra"},
                                  HeadName{"hydra_num_layers", "Hydra"},
                                  HeadName{"eagle_config", "EAGLE"},
                                  HeadName{"dflash_config", "DFlash"},
                                  HeadName{"speculators_config", "a speculator"},
                                  HeadName{"speculators_model_type", "a speculator"},
                                  HeadName{"draft_vocab_size", "EAGLE-3"}};

enum class Where { Start, End, Anywhere, Whole };
struct TensorName {
  Where where;
  const char* part;
  const char* what;
  const char* help;
};
constexpr const char* kInt4Ending = ".qweight";
constexpr std::array kTensorNames = {
    TensorName{Where::Start, "midlayer.", "a draft head (EAGLE-3)", kHeadHelp},
    TensorName{Where::Whole, "d2t", "a draft head (EAGLE-3)", kHeadHelp},
    TensorName{Where::Whole, "t2d", "a draft head (EAGLE-3)", kHeadHelp},
    TensorName{Where::Whole, "hidden_norm.weight", "a draft head (DFlash)", kHeadHelp},
    TensorName{Where::Whole, "fc.weight", "a draft head (EAGLE)", kHeadHelp},
    TensorName{Where::Whole, "model.fc.weight", "a draft head (EAGLE)", kHeadHelp},
    TensorName{Where::Anywhere, "medusa_head", "a draft head (Medusa)", kHeadHelp},
    TensorName{Where::Start, "0.0.", "a draft head (Medusa)", kHeadHelp},
    TensorName{Where::Anywhere, "hydra_", "a draft head (Hydra)", kHeadHelp},
    TensorName{Where::Start, "speculator.", "a draft head (an MLP speculator)", kHeadHelp},
    TensorName{Where::Start, "proj.0.", "a draft head (an MLP speculator)", kHeadHelp},
    TensorName{Where::Anywhere, ".lora_", "an adapter (LoRA)", kAdapterHelp},
    TensorName{Where::Start, "base_model.", "an adapter", kAdapterHelp},
    TensorName{Where::End, kInt4Ending, "a quantised checkpoint (GPTQ or AWQ) whose config.json does not say so",
               kQuantisedHelp},
    TensorName{Where::End, ".weight_packed", "a quantised checkpoint (compressed-tensors)", kQuantisedHelp},
    TensorName{Where::End, ".weight_scale_inv", "a quantised checkpoint (FP8)", kQuantisedHelp},
    TensorName{Where::Anywhere, ".weight.quant_state", "a quantised checkpoint (bitsandbytes)", kQuantisedHelp},
    TensorName{Where::End, ".SCB", "a quantised checkpoint (bitsandbytes)", kQuantisedHelp}};

bool fits(const TensorName& known, std::string_view name) {
  switch (known.where) {
    case Where::Start: return name.starts_with(known.part);
    case Where::End: return name.ends_with(known.part);
    case Where::Anywhere: return name.find(known.part) != std::string_view::npos;
    case Where::Whole: return name == known.part;
  }
  return false;
}

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// The first file with that ending, by name.
std::optional<std::string> file_with(const std::filesystem::path& folder, std::string_view ending) {
  std::optional<std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(ending) && (!found || name < *found)) found = name;
  }
  return found;
}

[[noreturn]] void refuse_head(const io::JsonObject& config, const char* key, const std::string& value,
                              const char* what) {
  config.refuse(key, "is {}: this is a draft head ({}); {} ({})", value, what, kHeadHelp,
                fmt::join(known_model_families(), ", "));
}

void refuse_adapter(const std::filesystem::path& folder) {
  const auto path = folder / "adapter_config.json";
  if (is_there(path)) {
    const nlohmann::json document = io::parse_json(io::MappedFile::open(path).text(), path.string());
    const io::JsonObject json(document, path.string());
    const auto text = [&](const char* key, const char* otherwise) {
      const nlohmann::json* value = json.find(key);
      return value != nullptr && value->is_string() ? io::shown(*value) : otherwise;
    };
    fail("{}: this is an adapter ({} of '{}'), no model: {}", folder.string(), text("peft_type", "of unknown kind"),
         text("base_model_name_or_path", "an unknown model"), kAdapterHelp);
  }
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"})
    if (is_there(folder / name)) fail("{}: this is an adapter ({}), no model: {}", folder.string(), name, kAdapterHelp);
}

}  // namespace

void refuse_other_folders(const std::filesystem::path& path) {
  if (!is_there(path)) fail("{}: no such folder", path.string());
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored))
    fail("{}: is not a folder{}; a model is a folder with config.json and model.safetensors in it", path.string(),
         path.extension() == ".gguf" ? " but a GGUF file, which is not read" : "");
  refuse_adapter(path);
  if (is_there(path / "config.json")) return;
  if (const auto gguf = file_with(path, ".gguf"))
    fail(
        "{}: there is no config.json, but {}: GGUF is not read; give the model's folder in Hugging Face's layout "
        "(config.json, "
        "*.safetensors)",
        path.string(), io::shown(*gguf));
  if (is_there(path / "params.json"))
    fail(
        "{}: there is no config.json, but params.json: this is the layout of the original Llama or Mistral files; "
        "convert it to Hugging "
        "Face's",
        path.string());
  if (is_there(path / "model_index.json"))
    fail("{}: there is no config.json, but model_index.json: this is a diffusers pipeline, no language model",
         path.string());
  fail(
      "{}: config.json cannot be opened: there is none; a model is a folder with config.json and model.safetensors in "
      "it",
      path.string());
}

void refuse_other_configs(const io::JsonObject& config) {
  for (const HeadName& head : kHeadKeys)
    if (const nlohmann::json* value = config.find(head.part))
      refuse_head(config, head.part, io::shown(*value), head.what);
  const nlohmann::json* list = config.find("architectures");
  const bool named = list != nullptr && list->is_array() && !list->empty() && (*list)[0].is_string();
  const std::string architecture = named ? (*list)[0].get<std::string>() : "";
  const nlohmann::json* type = config.find("model_type");
  for (const HeadName& head : kHeadNames) {
    if (lower_case(architecture).find(head.part) != std::string::npos)
      refuse_head(config, "architectures", fmt::format("'{}'", io::shown(architecture)), head.what);
    if (type != nullptr && type->is_string() &&
        lower_case(type->get<std::string>()).find(head.part) != std::string::npos)
      refuse_head(config, "model_type", fmt::format("'{}'", io::shown(*type)), head.what);
  }
  for (const char* part : {"text_config", "vision_config", "audio_config"})
    if (config.find(part) != nullptr)
      config.refuse(part,
                    "is given: this is a model of texts and images or sounds, whose language model stands in a part of "
                    "the file; a folder "
                    "with the language model alone is expected");
  if (architecture.find("For") != std::string::npos && architecture.find("ForCausalLM") == std::string::npos)
    config.refuse("architectures",
                  "is '{}': this is no model that continues a text; one that ends in ForCausalLM is expected",
                  io::shown(architecture));
  for (const char* key : {"quantization_config", "compression_config"}) {
    const auto quantisation = config.object(key);
    if (!quantisation) continue;
    const nlohmann::json* method = quantisation->find("quant_method");
    if (std::string_view(key) == "quantization_config" && method && (*method == "gptq" || *method == "awq")) continue;
    config.refuse(key, "is given ('{}'): {}", method != nullptr ? io::shown(*method) : "no quant_method",
                  kQuantisedHelp);
  }
}

void refuse_other_tensors(const Checkpoint& checkpoint, bool int4) {
  for (const auto& [name, tensor] : checkpoint.tensors())
    for (const TensorName& known : kTensorNames)
      if (fits(known, name) && !(int4 && known.part == std::string_view(kInt4Ending)))
        fail("{}: holds the tensor '{}' {}: this is {}; {}", checkpoint.file_of(name), io::shown(name),
             to_string(tensor.shape), known.what, known.help);
}

void refuse_missing_weights(const std::filesystem::path& folder) {
  struct Format {
    const char* ending;
    const char* what;
  };
  for (const Format& format :
       {Format{"pytorch_model.bin", "it is not read: convert it to safetensors"},
        Format{"pytorch_model.bin.index.json", "its files are not read: convert them to safetensors"},
        Format{".gguf", "GGUF is not read: give the original safetensors"},
        Format{"consolidated.safetensors",
               "this is Mistral's own layout, with other names: convert it to Hugging Face's"},
        Format{".pth", "it is not read: convert it to Hugging Face's layout"},
        Format{".h5", "TensorFlow's files are not read: convert them to safetensors"},
        Format{".msgpack", "Flax's files are not read: convert them to safetensors"},
        Format{"-00001.safetensors", "its index is missing: model.safetensors.index.json"},
        Format{".safetensors", "a checkpoint in one file must have the name above"}})
    if (const auto found = file_with(folder, format.ending))
      fail("{}: neither model.safetensors nor model.safetensors.index.json is there; {} is, but {}", folder.string(),
           io::shown(*found), format.what);
  fail("{}: neither model.safetensors nor model.safetensors.index.json is there", folder.string());
}

}  // namespace foretell::formats
