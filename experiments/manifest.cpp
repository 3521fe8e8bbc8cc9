#include "experiments/manifest.h"

#include <ATen/Parallel.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <sstream>

#include "experiments/content_hash.h"
#include "experiments/measured_costs.h"
#include "experiments/plugins.h"
#include "experiments/report.h"
#include "framework/base/error.h"
#include "framework/base/version.h"
#include "framework/cost/machine_state.h"
#include "framework/cost/row_costs.h"

namespace foretell {
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
    if (flag.rfind("avx", 0) == 0 || flag.rfind("amx", 0) == 0 || flag == "fma" || flag == "f16c") found.push_back(flag);
  return found;
}

// What the machine was like when this process began: whether its times can be trusted.
nlohmann::ordered_json machine_now() {
  const MachineState state = read_machine_state();
  const auto number = [](const auto& value) { return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(); };
  return {{"cpus", number(state.cpus)},     {"governors", state.governors},     {"load_1", number(state.load_1)},
          {"load_5", number(state.load_5)}, {"load_15", number(state.load_15)}, {"doubts", timing_doubts(state, at::get_num_threads())}};
}

nlohmann::ordered_json files_of(const std::filesystem::path& folder) {
  auto files = nlohmann::ordered_json::object();
  if (folder.empty()) return files;
  for (const auto& [name, hash] : model_file_hashes(folder)) files[name] = hash;
  return files;
}

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

nlohmann::ordered_json make_manifest(const Study& study, const Cell& cell, const CellSetup& setup) {
  const nlohmann::ordered_json foretell = {
      {"version", std::string(version())}, {"revision", std::string(git_revision())}, {"compiler", std::string(compiler())}};
  return {{"study", study.name},
          {"study_file", study.file.string()},
          {"cell", cell.name},
          {"cell_hash", cell.hash},
          {"group", cell.group},
          {"settings", to_json(cell.settings)},
          {"started", now_utc()},
          {"foretell", foretell},
          {"libtorch", TORCH_VERSION},
          {"plugins", plugin_manifest()},
          {"cpu", {{"model", cpu_info("model name")}, {"flags", vector_flags()}}},
          {"threads", at::get_num_threads()},
          {"device", setup.model ? setup.model->device().str() : "none: a recorded answer"},
          {"timed", setup.timed()},
          {"row_costs", setup.costs ? to_json(*setup.costs) : nullptr},
          {"is_baseline", cell.is_baseline},
          {"inflated_from", to_json(setup.inflated())},
          {"chat_template", setup.chat_template},
          {"prompts", setup.workload.conversations.size()},
          {"target", {{"folder", setup.target_folder.string()}, {"files", files_of(setup.target_folder)}}},
          {"laws", setup.laws ? nlohmann::ordered_json{{"file", setup.laws->file()}, {"hash", file_hash(setup.laws->file())}} : nullptr},
          {"draft", {{"folder", setup.draft_folder.string()}, {"files", files_of(setup.draft_folder)}}},
          {"inputs", setup.inputs},
          {"passes", nlohmann::ordered_json::array({{{"started", now_utc()}, {"foretell", foretell}, {"machine", machine_now()}}})}};
}

std::optional<std::string> cannot_go_on(const nlohmann::ordered_json& old, const nlohmann::ordered_json& fresh) {
  const auto at = [](const nlohmann::ordered_json& manifest, const char* path) {
    const nlohmann::ordered_json::json_pointer pointer(path);
    return manifest.contains(pointer) ? manifest.at(pointer) : nlohmann::ordered_json();
  };
  const auto shown = [](const nlohmann::ordered_json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); };
  for (const char* who : {"target", "draft"}) {
    const auto before = at(old, fmt::format("/{}/files", who).c_str()), now = at(fresh, fmt::format("/{}/files", who).c_str());
    if (before != now)
      return fmt::format("the files of the {} model ({}) have changed since it was run", who,
                         shown(at(fresh, fmt::format("/{}/folder", who).c_str())));
  }
  const auto inputs = at(fresh, "/inputs"), inputs_before = at(old, "/inputs");
  for (const auto& [file, hash] : inputs.items())
    if (inputs_before.contains(file) && inputs_before.at(file) != hash) return fmt::format("{} has changed since it was run", file);
  if (at(old, "/laws/hash") != at(fresh, "/laws/hash"))
    return fmt::format("{} has changed since it was run", shown(at(fresh, "/laws/file")));
  if (at(fresh, "/timed") != true) return std::nullopt;
  for (const auto& [path, what] : {std::pair{"/cpu/model", "processor"}, {"/threads", "number of threads"}, {"/device", "device"}})
    if (at(old, path) != at(fresh, path))
      return fmt::format("it was run with another {} ({}, now {})", what, shown(at(old, path)), shown(at(fresh, path)));
  return std::nullopt;
}

nlohmann::ordered_json continued(const nlohmann::ordered_json& old, const nlohmann::ordered_json& fresh) {
  nlohmann::ordered_json out = fresh;
  out["started"] = old.value("started", "");
  if (old.contains("passes") && old.at("passes").is_array()) {
    out["passes"] = old.at("passes");
    out["passes"].push_back(fresh.at("passes").front());
  }
  return out;
}

std::shared_ptr<const RowCosts> recorded_costs(const nlohmann::ordered_json& manifest) {
  if (!manifest.is_object() || !manifest.contains("row_costs") || !manifest.at("row_costs").is_object()) return nullptr;
  const auto points = [](const nlohmann::ordered_json& list) {
    std::vector<RowCost> out;
    for (const auto& point : list) out.push_back({point.at("rows"), point.at("ns")});
    return out;
  };
  try {
    const auto& costs = manifest.at("row_costs");
    auto target = points(costs.at("target"));
    if (target.empty()) return nullptr;
    return std::make_shared<RowCosts>(std::move(target), points(costs.at("draft")));
  } catch (const nlohmann::json::exception&) {
    return nullptr;  // of another version: measured again
  }
}

}  // namespace foretell
