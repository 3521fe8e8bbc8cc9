#include "experiments/manifest.h"

#include <ATen/Parallel.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <sstream>

#include "experiments/content_hash.h"
#include "experiments/plugins.h"
#include "experiments/report.h"
#include "framework/base/version.h"
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

// Null where no strategy planned with them.
nlohmann::ordered_json row_costs_of(const std::shared_ptr<const RowCosts>& costs) {
  if (!costs) return nullptr;
  const auto points = [](const std::vector<RowCost>& of) {
    auto out = nlohmann::ordered_json::array();
    for (const RowCost& point : of) out.push_back({{"rows", point.rows}, {"ns", point.ns}});
    return out;
  };
  return {{"target", points(costs->target_points())}, {"draft", points(costs->draft_points())}};
}

}  // namespace

nlohmann::ordered_json make_manifest(const Study& study, const Cell& cell, const CellSetup& setup) {
  return {
      {"study", study.name},
      {"study_file", study.file.string()},
      {"cell", cell.name},
      {"cell_hash", cell.hash},
      {"settings", to_json(cell.settings)},
      {"started", now_utc()},
      {"foretell", {{"version", std::string(version())}, {"revision", std::string(git_revision())}, {"compiler", std::string(compiler())}}},
      {"libtorch", TORCH_VERSION},
      {"plugins", plugin_manifest()},
      {"cpu", {{"model", cpu_info("model name")}, {"flags", vector_flags()}}},
      {"threads", at::get_num_threads()},
      {"device", setup.model ? setup.model->device().str() : "none: a recorded answer"},
      {"timed", setup.timed()},
      {"row_costs", row_costs_of(setup.costs)},
      {"is_baseline", cell.is_baseline},
      {"inflated_from", to_json(setup.inflated())},
      {"prompts", setup.workload.conversations.size()},
      {"target", {{"folder", setup.target_folder.string()}, {"files", files_of(setup.target_folder)}}},
      {"draft", {{"folder", setup.draft_folder.string()}, {"files", files_of(setup.draft_folder)}}}};
}

}  // namespace foretell
