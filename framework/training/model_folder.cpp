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

// The newest value of each measure whose name starts with `prefix`, up to a step.
std::vector<std::pair<std::string, double>> newest(const Curve& curve, int step, const std::string& prefix) {
  for (auto point = curve.rbegin(); point != curve.rend(); ++point) {
    std::vector<std::pair<std::string, double>> found;
    if (point->step > step) continue;
    for (const auto& entry : point->values)
      if (entry.first == prefix || entry.first.starts_with(prefix + ".")) found.push_back(entry);
    if (!found.empty()) return found;
  }
  return {};
}

std::string results_table(const Curve& curve, int step) {
  const auto exact = newest(curve, step, "exact_match"), lengths = newest(curve, step, "mean_acceptance_length");
  std::string text = "| held out | loss |", rule = "|---|---|";
  if (!exact.empty()) text += " exact match |", rule += "---|";
  if (!lengths.empty()) text += " mean acceptance length |", rule += "---|";
  text += "\n" + rule + "\n";
  for (const auto& [name, loss] : newest(curve, step, "heldout_loss")) {
    const std::string family = name.substr(std::string("heldout_loss").size());
    text += fmt::format("| {} | {:.4f} |", family.empty() ? "all" : family.substr(1), loss);
    const auto add = [&](const auto& values, const std::string& measure, auto&& shown) {
      const auto found =
          std::find_if(values.begin(), values.end(), [&](const auto& e) { return e.first == measure + family; });
      if (!values.empty()) text += found == values.end() ? "  |" : fmt::format(" {} |", shown(found->second));
    };
    add(exact, "exact_match", [](double share) { return fmt::format("{:.1f}%", 100 * share); });
    add(lengths, "mean_acceptance_length", [](double length) { return fmt::format("{:.2f}", length); });
    text += "\n";
  }
  return text;
}

// Acceptance by position of the draft, measured and with the answers given; nothing where none was measured.
std::string acceptance_table(const Curve& curve, int step) {
  const auto measured = newest(curve, step, "acceptance");
  if (measured.empty()) return "";
  std::string head = "\n| acceptance at position |", rule = "|---|";
  for (std::size_t i = 0; i < measured.size(); ++i) {
    head += fmt::format(" {} |", i + 1);
    rule += "---|";
  }
  std::string text = head + "\n" + rule + "\n";
  const auto add = [&](const char* title, const std::vector<std::pair<std::string, double>>& values) {
    text += fmt::format("| {} |", title);
    for (std::size_t i = 0; i < measured.size(); ++i)
      text += i < values.size() ? fmt::format(" {:.1f}% |", 100 * values[i].second) : "  |";
    text += "\n";
  };
  add("measured, if all before it were accepted", measured);
  if (const auto forced = newest(curve, step, "teacher_forced_acceptance"); !forced.empty())
    add("the same with the answers given", forced);
  return text;
}

std::string model_card(const ModelFolder& content) {
  const TrainSettings& settings = content.settings;
  std::string text = fmt::format("# {}\n\n{}, trained by Foretell.\n\n", settings.name, content.learner.description());
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
  if (content.kept_step < content.steps_done)
    text += fmt::format("The weights are those after step {}: their held-out acceptance was the best.\n\n",
                        content.kept_step);
  return text + results_table(content.state.curve, content.kept_step) +
         acceptance_table(content.state.curve, content.kept_step) +
         "\n`curve.csv` and `curve.svg` have the whole curve.\n";
}

}  // namespace

void write_generation_config(const std::filesystem::path& folder, const formats::ModelConfig& config) {
  nlohmann::ordered_json json;
  if (config.bos) json["bos_token_id"] = *config.bos;
  if (!config.eos.empty()) json["eos_token_id"] = config.eos;
  json["do_sample"] = false;
  io::write_file(folder / "generation_config.json", json.dump(2) + "\n");
}

void write_weights(const std::filesystem::path& folder, const autograd::TrainableTransformer& model) {
  const at::ScalarType type = model.config().dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  std::vector<formats::NewTensor> tensors;
  for (const autograd::NamedWeight& weight : model.named_weights())
    tensors.push_back(model::stored_as(weight.spec.name, weight.value, type));
  formats::write_safetensors(folder / "model.safetensors", tensors);
}

void write_run_files(const std::filesystem::path& folder, const ModelFolder& content) {
  if (content.learner.trains_model()) copy_tokenizer(content.tokenizer, folder);
  io::write_file(folder / "train.resolved.yaml", resolved_document(content.settings).to_yaml());
  io::write_file(folder / "curve.csv", curve_csv(content.state.curve));
  io::write_file(folder / "curve.svg", curve_svg(content.state.curve, content.settings.name));
  io::write_file(folder / "README.md", model_card(content));
}

}  // namespace foretell::training
