#include "experiments/cell/manifest.h"

#include <ATen/Parallel.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "experiments/results/config_json.h"
#include "experiments/results/row_costs_json.h"
#include "experiments/study/plugins.h"
#include "framework/core/error.h"
#include "framework/core/version.h"
#include "framework/cost/row_costs.h"
#include "framework/io/content_hash.h"
#include "framework/kernels/attention/attention_path.h"
#include "framework/kernels/matrix_path.h"
#include "framework/measurement/machine_state.h"
#include "framework/model/transformer.h"

namespace foretell::cell {
namespace {

// The value of a key in /proc/cpuinfo; empty on systems without it.
std::string cpu_info(const std::string& key) {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(key, 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "";
}

// Those of the CPU's flags that change how fast a matrix is multiplied.
std::vector<std::string> vector_flags() {
  std::vector<std::string> found;
  std::istringstream flags(cpu_info("flags"));
  for (std::string flag; flags >> flag;)
    if (flag.rfind("avx", 0) == 0 || flag.rfind("amx", 0) == 0 || flag == "fma" || flag == "f16c")
      found.push_back(flag);
  return found;
}

// What the machine was like when this process began: whether its times can be trusted.
nlohmann::ordered_json machine_now() {
  const measurement::MachineState state = measurement::read_machine_state();
  const auto number = [](const auto& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  return {{"cpus", number(state.cpus)},       {"governors", state.governors},
          {"load_1", number(state.load_1)},   {"load_5", number(state.load_5)},
          {"load_15", number(state.load_15)}, {"doubts", measurement::timing_doubts(state, at::get_num_threads())}};
}

// How threads of OpenMP wait for one another: what the environment says, or nothing.
std::string waiting_policy() {
  std::string words;
  for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"})
    if (const char* value = std::getenv(name)) words += fmt::format("{}{}={}", words.empty() ? "" : " ", name, value);
  return words.empty() ? "the library's own" : words;
}

nlohmann::ordered_json files_of(const std::filesystem::path& folder) {
  auto files = nlohmann::ordered_json::object();
  if (folder.empty()) return files;
  for (const auto& [name, hash] : io::model_file_hashes(folder)) files[name] = hash;
  return files;
}

// Whether a model's files are those of the manifest of before; hashes that an older version wrote are made again.
bool same_files(const io::OrderedJsonView& before, const nlohmann::ordered_json& now,
                const std::filesystem::path& folder) {
  const auto files = before.entries();
  return files.size() == now.size() && std::all_of(files.begin(), files.end(), [&](const auto& file) {
           return now.contains(file.first) && io::is_file_hash(file.second.string(), folder / file.first);
         });
}

// Of the strategies that plug-ins have registered: name -> the plug-in's file and its hash.
std::map<std::string, std::pair<std::string, std::string>> plugged_in(const io::OrderedJsonView& manifest) {
  std::map<std::string, std::pair<std::string, std::string>> out;
  const auto plugins = manifest.find("plugins");
  for (std::size_t i = 0; plugins && i < plugins->size(); ++i) {
    const io::OrderedJsonView plugin = plugins->at(i);
    const auto strategies = plugin.find("strategies");
    for (std::size_t s = 0; strategies && s < strategies->size(); ++s)
      out[strategies->at(s).string()] = {plugin.at("file").string(), plugin.at("hash").string()};
  }
  return out;
}

// The first strategy that another plug-in, or another form of it, gives now. One that is in one of the two alone is
// none that both passes can use.
std::optional<std::string> other_plugin(const io::OrderedJsonView& before, const nlohmann::ordered_json& fresh) {
  const Location here{"manifest.json", std::nullopt};
  const auto now = plugged_in({fresh, "", here});
  for (const auto& [strategy, then] : plugged_in(before))
    if (const auto found = now.find(strategy);
        found != now.end() && found->second.second != then.second && !io::is_old_hash(then.second))
      return fmt::format("the plug-in {} with the {} has changed since it was run", found->second.first, strategy);
  return std::nullopt;
}

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// By which of its numeric paths the target attends. On the CPU none of them depends on what else is computed; a
// library's operators may.
nlohmann::ordered_json attention_of(const CellSetup& setup) {
  const auto* model = dynamic_cast<const model::Transformer*>(setup.model.get());
  if (!model) return nullptr;
  const bool ours = model->device().is_cpu() && model->dtype() != at::kDouble;
  return {{"path", ours ? kernels::attention::name_of(kernels::attention::attention_path(model->dtype())) : "LibTorch"},
          {"kv_dtype", model->has_int8_cache() ? "int8" : c10::toString(model->dtype())},
          {"independent_of_batch", ours}};
}

}  // namespace

nlohmann::ordered_json make_manifest(const study::Study& study, const study::Cell& cell, const CellSetup& setup) {
  const nlohmann::ordered_json foretell = {{"version", std::string(version())},
                                           {"revision", std::string(git_revision())},
                                           {"compiler", std::string(compiler())}};
  return {{"format", results::kResultsFormat},
          {"study", study.name},
          {"study_file", study.file.string()},
          {"cell", cell.name},
          {"cell_hash", cell.hash},
          {"group", cell.group},
          {"settings", results::settings_json(cell.settings)},
          {"started", now_utc()},
          {"foretell", foretell},
          {"libtorch", TORCH_VERSION},
          {"plugins", study::plugin_manifest()},
          {"cpu", {{"model", cpu_info("model name")}, {"flags", vector_flags()}}},
          {"threads", at::get_num_threads()},
          {"thread_waiting", waiting_policy()},
          {"matrix_path", kernels::matrix_path_name()},
          {"attention", attention_of(setup)},
          {"device", setup.model ? setup.model->device().str() : "none: a recorded answer"},
          {"timed", setup.timed()},
          {"row_costs", setup.costs ? results::to_json(*setup.costs) : nullptr},
          {"is_baseline", cell.is_baseline},
          {"target_rules",
           study::has_rules(cell.pipeline) ? nlohmann::ordered_json(cell.pipeline.target.to_flow()) : nullptr},
          {"keeps_distribution_of",
           {{"target", setup.lossless(cell).towards_target}, {"checkpoint", setup.lossless(cell).towards_checkpoint}}},
          {"inflated_from", to_json(setup.inflated())},
          {"chat_template", setup.chat_template},
          {"prompts", setup.workload.conversations.size()},
          {"target", {{"folder", setup.target_folder.string()}, {"files", files_of(setup.target_folder)}}},
          {"laws", setup.distributions ? nlohmann::ordered_json{{"file", setup.distributions->file()},
                                                                {"hash", io::file_hash(setup.distributions->file())}}
                                       : nullptr},
          {"draft", {{"folder", setup.draft_folder.string()}, {"files", files_of(setup.draft_folder)}}},
          {"inputs", setup.inputs},
          {"passes", nlohmann::ordered_json::array(
                         {{{"started", now_utc()}, {"foretell", foretell}, {"machine", machine_now()}}})}};
}

std::optional<std::string> cannot_go_on(const results::ResultJson& old, const nlohmann::ordered_json& fresh) {
  const io::OrderedJsonView before = old.view();
  if (const auto owner = before.find("cell_hash"); owner && owner->string() != fresh.at("cell_hash"))
    return fmt::format("its folder holds the records of another cell ({})", owner->string());
  for (const char* who : {"target", "draft"}) {
    const nlohmann::ordered_json& now = fresh.at(who);
    const std::filesystem::path folder = now.at("folder").get<std::string>();
    if (!same_files(before.at(who).at("files"), now.at("files"), folder))
      return fmt::format("the files of the {} model ({}) have changed since it was run", who, folder.string());
  }
  if (const auto inputs = before.find("inputs"))
    for (const auto& [file, hash] : inputs->entries())
      if (fresh.at("inputs").contains(file) && !io::is_file_hash(hash.string(), file))
        return fmt::format("{} has changed since it was run", file);
  const auto distributions = before.find("laws");
  const bool has_distributions = !fresh.at("laws").is_null();
  if (has_distributions != distributions.has_value() ||
      (has_distributions &&
       !io::is_file_hash(distributions->at("hash").string(), fresh.at("laws").at("file").get<std::string>())))
    return fmt::format("{} has changed since it was run", has_distributions
                                                              ? fresh.at("laws").at("file").get<std::string>()
                                                              : distributions->at("file").string());
  if (auto plugin = other_plugin(before, fresh)) return plugin;
  if (fresh.at("timed") != true) return std::nullopt;
  const auto shown = [](const nlohmann::ordered_json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  const std::string processor = before.at("cpu").at("model").string(), device = before.at("device").string();
  const auto other = [&](const char* what, const std::string& then, const std::string& now) {
    return fmt::format("it was run with another {} ({}, now {})", what, then, now);
  };
  if (const auto& now = fresh.at("cpu").at("model"); now != processor) return other("processor", processor, shown(now));
  if (const auto& now = fresh.at("threads"); now != before.at("threads").integer())
    return other("number of threads", std::to_string(before.at("threads").integer()), shown(now));
  if (const auto& now = fresh.at("device"); now != device) return other("device", device, shown(now));
  return std::nullopt;
}

nlohmann::ordered_json continued(const results::ResultJson& old, const nlohmann::ordered_json& fresh) {
  nlohmann::ordered_json out = fresh;
  out["started"] = old.view().string_or("started", "");
  if (const auto passes = old.view().find("passes")) {
    static_cast<void>(passes->size());  // a list
    out["passes"] = passes->raw();
    out["passes"].push_back(fresh.at("passes").front());
  }
  return out;
}

std::shared_ptr<const cost::RowCosts> recorded_costs(const results::ResultJson& manifest) {
  const auto costs = manifest.view().find("row_costs");
  return costs ? results::row_costs_from(*costs) : nullptr;
}

bool has_old_hashes(const results::ResultJson& manifest) {
  const auto target = manifest.view().find("target");
  const auto files = target ? target->find("files") : std::nullopt;
  if (!files) return false;
  const auto entries = files->entries();
  return std::any_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return io::is_old_hash(entry.second.string()); });
}

}  // namespace foretell::cell
