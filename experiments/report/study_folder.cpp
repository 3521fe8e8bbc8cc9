#include "experiments/report/study_folder.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "experiments/console.h"
#include "experiments/report/measures.h"
#include "framework/base/error.h"
#include "framework/base/printable.h"
#include "framework/text/file_bytes.h"

namespace foretell {
namespace {

using ReportJson = nlohmann::ordered_json;

constexpr int kDeepest = 64;            // of nested values; what a run writes has less than 16
constexpr std::size_t kCells = 100000;  // of a study

// A JSON object of a file, whose values are asked for with their types.
class Reader {
 public:
  Reader(const ReportJson& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("{}: is no JSON object", where_);
  }

  std::optional<double> number(const std::string& pointer) const {
    const ReportJson* value = find(pointer);
    if (!value) return std::nullopt;
    if (!value->is_number()) refuse(pointer, "number", *value);
    return value->get<double>();
  }

  std::string text(const std::string& pointer) const {
    const ReportJson* value = find(pointer);
    if (!value) return "";
    if (!value->is_string()) refuse(pointer, "text", *value);
    return value->get<std::string>();
  }

  std::string required_text(const std::string& pointer) const {
    if (!find(pointer)) fail("{}: has no {}", where_, pointer);
    return text(pointer);
  }

  bool truth(const std::string& pointer, bool otherwise) const {
    const ReportJson* value = find(pointer);
    if (!value) return otherwise;
    if (!value->is_boolean()) refuse(pointer, "true or false", *value);
    return value->get<bool>();
  }

  std::vector<double> numbers(const std::string& pointer) const {
    std::vector<double> out;
    const ReportJson* value = find(pointer);
    if (!value) return out;
    if (!value->is_array()) refuse(pointer, "list of numbers", *value);
    for (const ReportJson& item : *value) {
      if (!item.is_number()) refuse(pointer, "list of numbers", *value);
      out.push_back(item.get<double>());
    }
    return out;
  }

  // Null where there is none.
  const ReportJson* object(const std::string& pointer) const {
    const ReportJson* value = find(pointer);
    if (value && !value->is_object()) refuse(pointer, "object", *value);
    return value;
  }

  const ReportJson* find(const std::string& pointer) const {
    const ReportJson::json_pointer at(pointer);
    return json_.contains(at) && !json_.at(at).is_null() ? &json_.at(at) : nullptr;
  }

  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void refuse(const std::string& pointer, const char* expected, const ReportJson& found) const {
    std::string text = found.dump(-1, ' ', true);
    if (text.size() > 60) text = text.substr(0, 60) + "...";
    fail("{}: {} is {}; expected {}", where_, pointer, text, expected);
  }

  const ReportJson& json_;
  std::string where_;
};

// A value of the settings, maps taken apart: {type: model, k: 4} gives two entries.
void add_setting(const std::string& path, const ReportJson& value, Facts& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, item] : value.items()) add_setting(fmt::format("{}.{}", path, key), item, out);
    return;
  }
  out.emplace_back(path, value.is_string() ? value.get<std::string>() : value.dump());
}

Facts settings_of(const ReportJson* settings) {
  Facts out;
  if (settings)
    for (const auto& [path, value] : settings->items()) add_setting(path, value, out);
  return out;
}

std::string joined(const ReportJson& list) {
  std::string out;
  if (list.is_array())
    for (const ReportJson& item : list) out += (out.empty() ? "" : " ") + (item.is_string() ? item.get<std::string>() : item.dump());
  return out;
}

void add_fact(const std::string& what, const std::string& value, Facts& facts) {
  if (!value.empty()) facts.emplace_back(what, value);
}

void read_manifest(const Reader& manifest, ReportCell& cell) {
  cell.started = manifest.text("/started");
  Facts& m = cell.machine;
  add_fact("processor", manifest.text("/cpu/model"), m);
  if (const ReportJson* flags = manifest.find("/cpu/flags")) add_fact("vector units", joined(*flags), m);
  if (const auto threads = manifest.number("/threads")) add_fact("threads", formatted(threads, NumberFormat::Count), m);
  add_fact("device", manifest.text("/device"), m);
  add_fact("Foretell", manifest.text("/foretell/version"), m);
  add_fact("revision", manifest.text("/foretell/revision"), m);
  add_fact("compiler", manifest.text("/foretell/compiler"), m);
  add_fact("LibTorch", manifest.text("/libtorch"), m);
  if (const ReportJson* plugins = manifest.find("/plugins")) add_fact("plug-ins", joined(*plugins), m);
  for (const char* who : {"target", "draft"}) {
    const std::string at = fmt::format("/{}", who);
    add_fact(fmt::format("{} folder", who), manifest.text(at + "/folder"), cell.models);
    if (const ReportJson* files = manifest.object(at + "/files"))
      for (const auto& [file, hash] : files->items())
        if (hash.is_string()) add_fact(fmt::format("{} {}", who, file), hash.get<std::string>(), cell.models);
  }
}

TaskNumbers read_task(const std::string& name, const Reader& task) {
  TaskNumbers out{.task = name};
  for (const Measure& measure : task_measures()) out.values.push_back(task.number(measure.pointer));
  out.verdict = task.text("/verdict");
  out.verdict_words = task.text("/verdict_words");
  out.units = task.text("/speedup_units");
  out.no_interval = task.text("/speedup_no_interval");
  out.acceptance_rate_per_position = task.numbers("/acceptance_rate_per_position");
  out.conditional_acceptance_per_position = task.numbers("/conditional_acceptance_per_position");
  constexpr const char* kByDepth = "/acceptance_histogram_by_depth";
  if (const ReportJson* depths = task.object(kByDepth)) {
    for (const auto& [depth, counts] : depths->items()) {
      int value = 0;
      const auto [end, error] = std::from_chars(depth.data(), depth.data() + depth.size(), value);
      if (error != std::errc() || end != depth.data() + depth.size() || value < 0)
        fail("{}: '{}' in acceptance_histogram_by_depth is not a depth", task.where(), printable(depth));
      out.by_depth.push_back({value, task.numbers(fmt::format("{}/{}", kByDepth, depth))});
    }
    std::sort(out.by_depth.begin(), out.by_depth.end(), [](const DepthCounts& a, const DepthCounts& b) { return a.depth < b.depth; });
  }
  return out;
}

void read_summary(const Reader& summary, const std::filesystem::path& folder, ReportCell& cell) {
  cell.state = summary.truth("/complete", false) ? CellState::Complete : CellState::Incomplete;
  cell.timed = summary.truth("/timed", true);
  if (const ReportJson* inflated = summary.object("/inflated_from"))
    for (const auto& [who, from] : inflated->items())
      if (from.is_string()) cell.inflated.emplace_back(who, from.get<std::string>());
  if (const ReportJson* tasks = summary.object("/tasks"))
    for (const auto& [name, task] : tasks->items())
      cell.tasks.push_back(read_task(name, Reader(task, fmt::format("{}: tasks/{}", summary.where(), printable(name)))));
  std::stable_partition(cell.tasks.begin(), cell.tasks.end(), [](const TaskNumbers& task) { return task.task != "overall"; });
  ReportJson performance = ReportJson::object();
  if (const ReportJson* written = summary.object("/performance")) performance = *written;
  if (const auto file = folder / "prediction.json"; std::filesystem::exists(file)) performance["overlap"] = read_report_json(file);
  const Reader reader(performance, summary.where() + ": performance");
  for (std::size_t i = 0; i < cell.values.size(); ++i) cell.values[i] = reader.number(cell_measures()[i].pointer);
  cell.reason = reader.text("/reason");
  cell.energy_source = reader.text("/energy_source");
}

// The cell's folder is named by its hash; a name with a slash could lead anywhere.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 128 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
}

ReportCell read_cell(const Reader& index, const std::filesystem::path& study) {
  ReportCell cell;
  cell.name = index.required_text("/name");
  cell.hash = index.required_text("/hash");
  if (!is_plain_name(cell.hash)) fail("{}: /hash is '{}'; expected letters and digits", index.where(), printable(cell.hash));
  cell.is_baseline = index.truth("/is_baseline", false);
  const ReportJson* settings = index.object("/settings");
  cell.settings = settings_of(settings);
  cell.settings_key = settings ? settings->dump() : "{}";
  cell.values.resize(cell_measures().size());
  const std::filesystem::path folder = study / cell.hash;
  if (!std::filesystem::exists(folder)) return cell;
  cell.state = CellState::Incomplete;
  if (const auto file = folder / "manifest.json"; std::filesystem::exists(file))
    read_manifest(Reader(read_report_json(file), file.string()), cell);
  if (const auto file = folder / "summary.json"; std::filesystem::exists(file))
    read_summary(Reader(read_report_json(file), file.string()), folder, cell);
  return cell;
}

}  // namespace

const char* name_of(CellState state) {
  switch (state) {
    case CellState::Complete: return "complete";
    case CellState::Incomplete: return "incomplete";
    case CellState::Missing: return "missing";
  }
  return "";
}

const std::optional<double>& TaskNumbers::at(std::string_view measure) const { return values.at(task_measure(measure)); }

const TaskNumbers* ReportCell::overall() const { return tasks.empty() || tasks.back().task != "overall" ? nullptr : &tasks.back(); }

ReportJson read_report_json(const std::filesystem::path& file) {
  const std::string bytes = read_file_bytes(file);
  bool too_deep = false;
  const auto shallow = [&](int depth, ReportJson::parse_event_t, ReportJson&) {
    too_deep |= depth > kDeepest;
    return depth <= kDeepest;
  };
  try {
    ReportJson json = ReportJson::parse(bytes, shallow);
    if (too_deep) fail("{}: is nested deeper than {} levels; no file of a Foretell run is", file.string(), kDeepest);
    return json;
  } catch (const nlohmann::json::exception&) {
    fail("{}: is no JSON, or only half of a file", file.string());
  }
}

StudyFolder read_study_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "study.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored))
    fail("{}: is not the folder of a study; expected results/STUDY with study.json in it", folder.string());
  const ReportJson json = read_report_json(file);
  const Reader index(json, file.string());
  StudyFolder out{.folder = folder};
  out.study = index.required_text("/study");
  out.description = index.text("/description");
  out.file = index.text("/file");
  const ReportJson* cells = index.find("/cells");
  if (!cells || !cells->is_array()) fail("{}: has no list of cells", file.string());
  if (cells->size() > kCells) fail("{}: has {} cells; at most {} can be reported", file.string(), cells->size(), kCells);
  for (const ReportJson& cell : *cells)
    out.cells.push_back(read_cell(Reader(cell, fmt::format("{}: cell {}", file.string(), out.cells.size() + 1)), folder));
  return out;
}

}  // namespace foretell
