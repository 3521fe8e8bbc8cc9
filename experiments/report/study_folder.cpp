#include "experiments/report/study_folder.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "experiments/analysis/measures.h"
#include "experiments/results/provenance.h"
#include "experiments/results/record_reader.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/metrics/statistics.h"

namespace foretell::report {
namespace {

using ReportJson = nlohmann::ordered_json;

// The entry of a list or an object; nothing where it is missing or null.
std::optional<io::OrderedJsonView> entry_of(const io::OrderedJsonView& view, std::string_view key) {
  if (!view.raw().is_array()) return view.find(key);
  std::size_t index = 0;
  std::from_chars(key.data(), key.data() + key.size(), index);
  if (index >= view.size() || view.at(index).raw().is_null()) return std::nullopt;
  return view.at(index);
}

// What stands at a JSON pointer; nothing where a part of the way is missing or null.
std::optional<io::OrderedJsonView> at_pointer(io::OrderedJsonView view, std::string_view pointer) {
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::string_view key = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(key.size());
    const auto next = entry_of(view, key);
    if (!next) return std::nullopt;
    view = *next;
  }
  return view;
}

std::optional<double> number_at_pointer(const io::OrderedJsonView& view, std::string_view pointer) {
  const auto value = at_pointer(view, pointer);
  if (!value) return std::nullopt;
  return value->number();
}

std::string text_at(const io::OrderedJsonView& view, std::string_view pointer) {
  const auto value = at_pointer(view, pointer);
  return value ? value->string() : "";
}

std::vector<double> numbers_at(const io::OrderedJsonView& view, std::string_view key) {
  std::vector<double> out;
  if (const auto list = view.find(key))
    for (std::size_t i = 0; i < list->size(); ++i) out.push_back(list->at(i).number());
  return out;
}

// A value of the settings, maps taken apart: {type: model, k: 4} gives two entries.
void add_setting(const std::string& path, const ReportJson& value, Facts& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, item] : value.items()) add_setting(fmt::format("{}.{}", path, key), item, out);
    return;
  }
  out.emplace_back(path, value.is_string() ? value.get<std::string>() : value.dump());
}

Facts settings_of(const ReportJson& settings) {
  Facts out;
  for (const auto& [path, value] : settings.items()) add_setting(path, value, out);
  return out;
}

std::string joined(const ReportJson& list, const char* separator = " ") {
  std::string out;
  if (list.is_array())
    for (const ReportJson& item : list)
      out += (out.empty() ? "" : separator) + (item.is_string() ? item.get<std::string>() : item.dump());
  return out;
}

void add_fact(const std::string& what, const std::string& value, Facts& facts) {
  if (!value.empty()) facts.emplace_back(what, value);
}

void read_manifest(const io::OrderedJsonView& manifest, ReportCell& cell) {
  cell.started = text_at(manifest, "/started");
  cell.imported = text_at(manifest, "/imported_from");
  Facts& m = cell.machine;
  add_fact("processor", text_at(manifest, "/cpu/model"), m);
  if (const auto flags = at_pointer(manifest, "/cpu/flags")) add_fact("vector units", joined(flags->raw()), m);
  if (const auto threads = number_at_pointer(manifest, "/threads"))
    add_fact("threads", analysis::formatted(threads, analysis::NumberFormat::Count), m);
  add_fact("threads wait", text_at(manifest, "/thread_waiting"), m);
  add_fact("matrix products of bf16", text_at(manifest, "/matrix_path"), m);
  add_fact("attention by", text_at(manifest, "/attention/path"), m);
  add_fact("KV cache in", text_at(manifest, "/attention/kv_dtype"), m);
  add_fact("device", text_at(manifest, "/device"), m);
  add_fact("Foretell", text_at(manifest, "/foretell/version"), m);
  add_fact("revision", text_at(manifest, "/foretell/revision"), m);
  add_fact("compiler", text_at(manifest, "/foretell/compiler"), m);
  add_fact("LibTorch", text_at(manifest, "/libtorch"), m);
  if (const auto plugins = manifest.find("plugins")) add_fact("plug-ins", joined(plugins->raw()), m);
  for (const char* who : {"target", "draft"}) {
    const auto model = manifest.find(who);
    if (!model) continue;
    add_fact(fmt::format("{} folder", who), model->string_or("folder", ""), cell.models);
    if (const auto files = model->find("files"))
      for (const auto& [file, hash] : files->entries())
        add_fact(fmt::format("{} {}", who, file), hash.string(), cell.models);
  }
}

void take_back_verdict(const io::OrderedJsonView& task, TaskNumbers& out) {
  if (out.verdict != name_of(metrics::SpeedupVerdict::Faster) &&
      out.verdict != name_of(metrics::SpeedupVerdict::Slower))
    return;
  const auto samples = number_at_pointer(task, "/speedup_samples"), known = samples ? samples : out.at("requests");
  std::string why;
  if (!out.at("speedup_interval_low"))
    why = "no interval";
  else if (known && *known < metrics::kLeastPrompts)
    why = fmt::format("fewer than {} prompts", metrics::kLeastPrompts);
  if (why.empty()) return;
  out.verdict.clear();
  out.verdict_words = "not judged: " + why;
}

constexpr std::size_t kMostRead = 4096;  // layers of a model, experts of a layer, counts of rows

void read_experts(const io::OrderedJsonView& experts, TaskNumbers& out) {
  constexpr std::pair<const char*, const char*> kColumns[] = {{"touched_per_round", "experts/round"},
                                                              {"uniform_per_round", "if uniform"},
                                                              {"locality", "touched/uniform"},
                                                              {"neighbour_share", "shared with parent"},
                                                              {"max_violation", "MaxVio"},
                                                              {"round_max_violation", "MaxVio of a round"},
                                                              {"variation", "CV"},
                                                              {"entropy", "entropy"},
                                                              {"dead", "dead"},
                                                              {"dropped_share", "rows without an expert"}};
  const io::OrderedJsonView layers = experts.at("layers");
  if (layers.size() > kMostRead) layers.expected(fmt::format("at most {} layers", kMostRead));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const io::OrderedJsonView layer = layers.at(i);
    LayerNumbers& of = out.experts.emplace_back();
    of.layer = static_cast<int>(layer.at("layer").integer(0, 1 << 20));
    for (const auto& [key, heading] : kColumns)
      of.values.emplace_back(heading, number_at_pointer(layer, fmt::format("/{}", key)));
    if (layer.at("load").size() > kMostRead) layer.at("load").expected(fmt::format("at most {} experts", kMostRead));
    of.load = numbers_at(layer, "load");
  }
  const auto by_rows = experts.find("by_rows");
  for (std::size_t i = 0; by_rows && i < by_rows->size(); ++i) {
    const io::OrderedJsonView entry = by_rows->at(i);
    out.touched.push_back({entry.at("rows").number(), entry.at("rounds").number(), entry.at("touched").number(),
                           entry.at("uniform").number()});
  }
}

TaskNumbers read_task(const std::string& name, const io::OrderedJsonView& task) {
  TaskNumbers out{.task = name};
  for (const analysis::Measure& measure : analysis::task_measures())
    out.values.push_back(number_at_pointer(task, measure.pointer));
  out.verdict = task.string_or("verdict", "");
  out.verdict_words = task.string_or("verdict_words", "");
  out.units = task.string_or("speedup_units", "");
  take_back_verdict(task, out);
  out.no_interval = task.string_or("speedup_no_interval", "");
  out.acceptance_rate_per_position = numbers_at(task, "acceptance_rate_per_position");
  out.conditional_acceptance_per_position = numbers_at(task, "conditional_acceptance_per_position");
  if (const auto experts = task.find("experts")) read_experts(*experts, out);
  if (const auto depths = task.find("acceptance_histogram_by_depth")) {
    for (const auto& [depth, counts] : depths->entries()) {
      int value = 0;
      const auto [end, error] = std::from_chars(depth.data(), depth.data() + depth.size(), value);
      if (error != std::errc() || end != depth.data() + depth.size() || value < 0)
        counts.refuse("its key is not a depth");
      out.by_depth.push_back({value, numbers_at(*depths, depth)});
    }
    std::sort(out.by_depth.begin(), out.by_depth.end(),
              [](const DepthCounts& a, const DepthCounts& b) { return a.depth < b.depth; });
  }
  return out;
}

void read_performance(const io::OrderedJsonView& performance, const std::optional<results::ResultJson>& prediction,
                      ReportCell& cell) {
  constexpr std::string_view kOverlap = "/overlap";
  for (std::size_t i = 0; i < cell.values.size(); ++i) {
    const std::string_view pointer = analysis::cell_measures()[i].pointer;
    if (!pointer.starts_with(kOverlap))
      cell.values[i] = number_at_pointer(performance, pointer);
    else if (prediction)
      cell.values[i] = number_at_pointer(prediction->view(), pointer.substr(kOverlap.size()));
  }
  cell.reason = performance.string_or("reason", "");
  cell.energy_source = performance.string_or("energy_source", "");
}

void read_summary(const results::ResultJson& file, const std::optional<results::ResultJson>& prediction,
                  ReportCell& cell) {
  const io::OrderedJsonView summary = file.view();
  cell.state = summary.boolean_or("complete", false) ? CellState::Complete : CellState::Incomplete;
  cell.timed = summary.boolean_or("timed", true);
  if (const auto given = summary.find("given_acceptance")) cell.given = joined(given->raw(), ", ");
  if (const auto keeps = summary.find("keeps_distribution_of"))
    cell.keeps = study::Losslessness{keeps->boolean_or("target", true), keeps->boolean_or("checkpoint", true)};
  cell.target_rules = summary.string_or("target_rules", "");
  if (summary.find("lossless")) cell.lossless = summary.boolean_or("lossless", true);
  if (const auto inflated = summary.find("inflated_from"))
    for (const auto& [who, from] : inflated->entries()) cell.inflated.emplace_back(who, from.string());
  if (const auto tasks = summary.find("tasks"))
    for (const auto& [name, task] : tasks->entries()) cell.tasks.push_back(read_task(name, task));
  std::stable_partition(cell.tasks.begin(), cell.tasks.end(),
                        [](const TaskNumbers& task) { return task.task != "overall"; });
  const ReportJson none = ReportJson::object();
  read_performance(summary.find("performance").value_or(io::OrderedJsonView(none, "", file.where())), prediction, cell);
}

void read_differences(const io::OrderedJsonView& written, ReportCell& cell) {
  const io::OrderedJsonView list = written.at("differences");
  cell.differences.emplace();
  for (std::size_t i = 0; i < list.size(); ++i) {
    const io::OrderedJsonView difference = list.at(i);
    cell.differences->push_back(
        {difference.string_or("task", ""), difference.at("words").string(), difference.boolean_or("tie", false)});
  }
}

ReportCell bare_cell(const results::IndexedCell& index) {
  ReportCell cell{.name = index.name, .hash = index.hash, .is_baseline = index.is_baseline};
  cell.settings = settings_of(index.settings);
  cell.settings_key = index.settings.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  cell.values.resize(analysis::cell_measures().size());
  return cell;
}

struct CellRead {
  ReportCell cell;
  results::CellOrigin origin;  // empty where the cell is damaged
};

CellRead cell_of_folder(const results::IndexedCell& index, const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder)) return {report_cell(index, std::nullopt), {.folder = folder}};
  const auto in = [&](const char* name) { return results::ResultJson::if_there(folder / name); };
  try {
    const CellFiles files{in("manifest.json"), in("summary.json"), in("prediction.json"), in("divergence.json"),
                          results::damage_of(folder)};
    return {report_cell(index, files), results::read_origin(folder)};
  } catch (const Error& error) {
    ReportCell cell = bare_cell(index);
    cell.state = CellState::Damaged;
    cell.damage = error.what();
    return {std::move(cell), {.folder = folder}};
  }
}

}  // namespace

const char* name_of(CellState state) {
  switch (state) {
    case CellState::Complete: return "complete";
    case CellState::Incomplete: return "incomplete";
    case CellState::Missing: return "missing";
    case CellState::Damaged: return "damaged";
  }
  return "";
}

const std::optional<double>& TaskNumbers::at(std::string_view measure) const {
  return values.at(analysis::task_measure(measure));
}

bool TaskNumbers::unreliable() const { return verdict == name_of(metrics::SpeedupVerdict::UnreliableTiming); }

const TaskNumbers* ReportCell::overall() const {
  return tasks.empty() || tasks.back().task != "overall" ? nullptr : &tasks.back();
}

ReportCell report_cell(const results::IndexedCell& index, const std::optional<CellFiles>& files) {
  ReportCell cell = bare_cell(index);
  if (!files) return cell;
  cell.state = CellState::Incomplete;
  if (files->manifest) read_manifest(files->manifest->view(), cell);
  cell.damage = files->damage;
  if (!cell.damage.empty())
    cell.state = CellState::Damaged;
  else if (files->summary)
    read_summary(*files->summary, files->prediction, cell);
  if (cell.damage.empty() && files->divergence) read_differences(files->divergence->view(), cell);
  return cell;
}

StudyFolder read_study_folder(const std::filesystem::path& folder) {
  const results::StudyIndex index = results::read_study_index(folder);
  StudyFolder out{.folder = folder, .study = index.study, .description = index.description, .file = index.file};
  std::vector<results::CellOrigin> origins;
  for (const results::IndexedCell& cell : index.cells) {
    CellRead read = cell_of_folder(cell, folder / cell.hash);
    out.cells.push_back(std::move(read.cell));
    origins.push_back(std::move(read.origin));
  }
  out.notes = results::check_origins(origins, false);
  return out;
}

}  // namespace foretell::report
