#include "framework/training/model_folder.h"

#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/core/version.h"
#include "framework/io/atomic_file.h"
#include "framework/io/mapped_file.h"
#include "framework/model/stored_values.h"

namespace foretell::training {
namespace {

// A copy under the name that a model's folder has it by.
void copy_if_there(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::filesystem::exists(from) && !std::filesystem::equivalent(from.parent_path(), to.parent_path()))
    io::write_file(to, io::MappedFile::open(from).text());
}

void copy_tokenizer(const std::filesystem::path& source, const std::filesystem::path& folder) {
  const bool is_folder = std::filesystem::is_directory(source);
  const std::filesystem::path home = is_folder ? source : source.parent_path().empty() ? "." : source.parent_path();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"})
    copy_if_there(home / name, folder / name);
  if (!is_folder) return copy_if_there(source, folder / ("tokenizer" + source.extension().string()));
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer.bin"})
    copy_if_there(home / name, folder / name);
}

std::string generation_config(const formats::ModelConfig& config) {
  nlohmann::ordered_json json;
  if (config.bos) json["bos_token_id"] = *config.bos;
  if (!config.eos.empty()) json["eos_token_id"] = config.eos;
  json["do_sample"] = false;
  return json.dump(2) + "\n";
}

// The newest value of each measure whose name starts with `prefix`.
std::vector<std::pair<std::string, double>> newest(const Curve& curve, const std::string& prefix) {
  for (auto point = curve.rbegin(); point != curve.rend(); ++point) {
    std::vector<std::pair<std::string, double>> found;
    for (const auto& entry : point->values)
      if (entry.first == prefix || entry.first.starts_with(prefix + ".")) found.push_back(entry);
    if (!found.empty()) return found;
  }
  return {};
}

std::string results_table(const Curve& curve) {
  std::string text = "| held out | loss | exact match |\n|---|---|---|\n";
  const auto exact = newest(curve, "exact_match");
  for (const auto& [name, loss] : newest(curve, "heldout_loss")) {
    const std::string family = name.substr(std::string("heldout_loss").size());
    const auto share =
        std::find_if(exact.begin(), exact.end(), [&](const auto& e) { return e.first == "exact_match" + family; });
    text += fmt::format("| {} | {:.4f} | {} |\n", family.empty() ? "all" : family.substr(1), loss,
                        share == exact.end() ? "" : fmt::format("{:.1f}%", 100 * share->second));
  }
  return text;
}

std::string model_card(const ModelFolder& content) {
  const formats::ModelConfig& config = content.model.config();
  const TrainSettings& settings = content.settings;
  std::string text = fmt::format("# {}\n\n", settings.name);
  text += fmt::format(
      "A {} model of {:.2f} million parameters ({}, hidden size {}, vocabulary {}, context {}), trained by "
      "Foretell.\n\n",
      config.family, static_cast<double>(content.model.parameter_count()) / 1e6, counted(config.num_layers, "layer"),
      config.hidden_size, config.vocab_size, config.context);
  text += fmt::format(
      "Made with `foretell train` of the file `train.resolved.yaml` beside this page (foretell {}, {}).\n\n", version(),
      git_revision());
  text += fmt::format(
      "- steps: {} of {}\n- tokens: {} through the model, {} of them with a loss\n- time: {:.1f} minutes of training, "
      "{}\n",
      content.steps_done, settings.run.steps, content.data.tokens, content.data.loss_tokens, content.state.seconds / 60,
      counted(at::get_num_threads(), "thread"));
  if (content.data.skipped > 0)
    text += fmt::format("- left out: {} longer than {} tokens\n", counted(content.data.skipped, "conversation"),
                        settings.batch.length);
  text += fmt::format("- seeds: weights {}, data {}\n\n", settings.model.init_seed, settings.data.seed);
  return text + results_table(content.state.curve) + "\n`curve.csv` and `curve.svg` have the whole curve.\n";
}

}  // namespace

void write_weights(const std::filesystem::path& folder, const autograd::TrainableTransformer& model) {
  const at::ScalarType type = model.config().dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  std::vector<formats::NewTensor> tensors;
  for (const autograd::NamedWeight& weight : model.named_weights())
    tensors.push_back(model::stored_as(weight.spec.name, weight.value, type));
  formats::write_safetensors(folder / "model.safetensors", tensors);
}

void write_model_folder(const std::filesystem::path& folder, const ModelFolder& content) {
  formats::write_model_config(folder, content.model.config());
  io::write_file(folder / "generation_config.json", generation_config(content.model.config()));
  write_weights(folder, content.model);
  const TrainModelSettings& model = content.settings.model;
  copy_tokenizer(model.tokenizer.value_or(model.from.value_or("")), folder);
  io::write_file(folder / "train.resolved.yaml", resolved_document(content.settings).to_yaml());
  io::write_file(folder / "curve.csv", curve_csv(content.state.curve));
  io::write_file(folder / "curve.svg", curve_svg(content.state.curve, content.settings.name));
  io::write_file(folder / "README.md", model_card(content));
}

}  // namespace foretell::training
