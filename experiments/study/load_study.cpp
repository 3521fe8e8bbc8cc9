#include "experiments/study/study.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>

#include "experiments/study/include.h"
#include "experiments/study/pipeline.h"
#include "experiments/study/plugins.h"
#include "experiments/study/sweep.h"
#include "experiments/util/paths.h"
#include "experiments/util/result_names.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"
#include "framework/io/content_hash.h"

namespace foretell::study {
namespace {

constexpr std::array<std::string_view, 5> kCellSections = {"model", "pipeline", "sampling", "workload", "run"};

ConfigValue typed(const char* type) { return ConfigValue::map({{"type", ConfigValue::scalar(type), {}}}); }

struct StudySections {
  std::string study, description;
  ConfigValue include, model, pipeline, sampling, workload, run, sweep, overlap, plugins;
  ConfigValue baseline = ConfigValue::map({{"pipeline", ConfigValue::map({{"drafter", typed("none"), {}}}), {}}});

  void declare(Parameters& p) {
    p.add("study", study, "the study's name and its folder below the results", {.required = true});
    p.add("description", description, "free text");
    p.add("include", include, "a study, or a list of them, that this one is built on");
    p.add("model", model, "target and draft models", {.required = true});
    p.add("pipeline", pipeline, "rules of the target, drafter, verifier, policy, tree");
    p.add("sampling", sampling, "from logits to a distribution");
    p.add("workload", workload, "the prompts", {.required = true});
    p.add("run", run, "seed, repeats, warm-up, threads, batch size");
    p.add("plugins", plugins, "shared libraries with more strategies");
    p.add("baseline", baseline, "dotted pipeline paths and their values in the baseline; none for no baseline");
    p.add("overlap", overlap, "text that acceptance is predicted from, beside what is measured");
    p.add("sweep", sweep, "dotted paths and the values that each takes");
  }
};

void check_name(const StudySections& sections, const ConfigValue& document) {
  const std::string& name = sections.study;
  if (const std::string problem = util::study_name_problem(name); !problem.empty())
    fail_at(document.find("study")->where(), "study: '{}' {}: it names the folder of the results", excerpt(name),
            problem);
}

// Replaces sections that name a YAML file by what the file holds.
void inline_sections(ConfigValue& document, const std::filesystem::path& folder) {
  for (const std::string_view section : kCellSections) {
    const ConfigValue* value = document.find(section);
    if (!value || !value->is_scalar()) continue;
    document.set(section,
                 placed_at(value->where(), [&] { return load_yaml(util::resolve_path(*value, section, folder)); }));
  }
}

// Sets a key that has dots of its own below the sections that are named, outermost first: in a sweep whole paths are
// the keys.
void set_swept_path(ConfigValue& map, std::span<const std::string> sections, const std::string& path,
                    ConfigValue value) {
  if (!map.is_map() && !map.is_null())
    fail_at(value.where(),
            "the sweep at {} is no mapping, so one path of it cannot be set; give all of it: --set 'sweep={{{}: {}}}'",
            map.where().to_string(), path, value.to_flow());
  if (!sections.empty()) {
    const ConfigValue* existing = map.find(sections.front());
    ConfigValue below = existing ? *existing : ConfigValue::map({}, value.where());
    set_swept_path(below, sections.subspan(1), path, std::move(value));
    return map.set(sections.front(), std::move(below));
  }
  const auto same =
      std::find_if(map.entries().begin(), map.entries().end(), [&](const auto& e) { return full_path(e.key) == path; });
  map.set(same == map.entries().end() ? path : same->key, std::move(value));
}

// `--set sweep.a.b=[1, 2]` and `--set sweep.zip.a.b=[1, 2]`.
bool override_sweep(ConfigValue& document, const Override& parsed) {
  std::vector<std::string> sections;
  std::string path = parsed.path;
  const auto take = [&](std::string_view name) {
    if (!path.starts_with(name) || path.size() <= name.size() + 1 || path[name.size()] != '.') return false;
    sections.emplace_back(name);
    path.erase(0, name.size() + 1);
    return true;
  };
  if (!take("sweep")) return false;
  [[maybe_unused]] const bool has_form = take("grid") || take("zip") || take("one_at_a_time");
  set_swept_path(document, sections, full_path(path), parsed.value);
  return true;
}

void override_all(ConfigValue& document, const std::vector<std::string>& overrides,
                  const std::filesystem::path& folder) {
  for (const std::string& assignment : overrides) {
    const Override parsed = parse_override(assignment);
    if (!override_sweep(document, parsed)) document.set_path(full_path(parsed.path), parsed.value);
    inline_sections(document, folder);
  }
}

// Overrides that a cell must hear again because the sweep has replaced values.
std::vector<std::string> cell_overrides(const std::vector<std::string>& overrides) {
  std::vector<std::string> out;
  for (const std::string& assignment : overrides) {
    const std::string path = full_path(assignment.substr(0, assignment.find('=')));
    const std::string head = path.substr(0, path.find('.'));
    if (std::find(kCellSections.begin(), kCellSections.end(), head) != kCellSections.end()) out.push_back(assignment);
  }
  return out;
}

// The sections of one cell, in a fixed order, so that equal cells have equal hashes.
ConfigValue cell_document(const ConfigValue& document) {
  ConfigValue out = ConfigValue::map({}, document.where());
  for (const std::string_view section : kCellSections)
    if (const ConfigValue* value = document.find(section)) out.set(section, *value);
  return out;
}

template <class Section>
Section read_section(const ConfigValue& document, const char* name) {
  Section section;
  const ConfigValue* value = document.find(name);
  Parameters::read(value ? *value : ConfigValue{}, fmt::format("section '{}'", name), section);
  return section;
}

PipelineSection read_pipeline(const ConfigValue& document) {
  ConfigValue expanded = ConfigValue::map({});
  if (const ConfigValue* pipeline = document.find("pipeline"))
    expanded.set("pipeline", util::expand_environment(*pipeline));
  return read_section<PipelineSection>(expanded, "pipeline");
}

// With nothing to verify and nothing to plan, verifier and policy do nothing: plain decoding is one thing.
bool same_pipeline(const PipelineSection& a, const PipelineSection& b) {
  if (!same_rules(a, b)) return false;
  if (drafts_nothing(a) && drafts_nothing(b)) return true;
  return same_value(a.drafter, b.drafter) && same_value(a.verifier, b.verifier) && same_value(a.policy, b.policy) &&
         same_value(a.tree, b.tree);
}

void read_baseline(Cell& cell, const ConfigValue& baseline) {
  if (baseline.is_null() || (baseline.is_scalar() && baseline.text() == "none")) return;
  if (!baseline.is_map()) fail_at(baseline.where(), "baseline: expected a mapping of dotted paths, or none");
  ConfigValue document = cell.document;
  for (const auto& entry : baseline.entries()) {
    const std::string path = full_path(entry.key);
    if (path != "pipeline" && path.rfind("pipeline.", 0) != 0)
      fail_at(entry.where,
              "baseline: '{}' is no part of the pipeline; a baseline has the cell's own prompts, models and sampling",
              entry.key);
    // A whole section says something of the keys that it names: the others are the cell's, as its target's rules are.
    if (path == "pipeline" && entry.value.is_map())
      for (const auto& part : entry.value.entries()) document.set_path("pipeline." + part.key, part.value);
    else
      document.set_path(path, entry.value);
  }
  PipelineSection pipeline = read_pipeline(document);
  if (drafts_nothing(pipeline)) {
    // All cells of a group share it, whatever their verifiers.
    const PipelineSection plain;
    const auto says = [&](const std::string& part) {
      return std::any_of(baseline.entries().begin(), baseline.entries().end(),
                         [&](const auto& e) { return full_path(e.key).rfind(part, 0) == 0; });
    };
    if (!says("pipeline.verifier")) pipeline.verifier = plain.verifier;
    if (!says("pipeline.policy")) pipeline.policy = plain.policy;
    pipeline.tree = plain.tree;
  }
  cell.is_baseline = same_pipeline(pipeline, cell.pipeline);
  if (!cell.is_baseline) cell.baseline = std::move(pipeline);
}

// Everything but the pipeline; the draft model only where the baseline needs it too.
std::string group_of(const Cell& cell, const ConfigValue& baseline) {
  ConfigValue shared = ConfigValue::map({});
  for (const auto& entry : cell.document.entries())
    if (entry.key != "pipeline") shared.set(entry.key, entry.value);
  std::string key;
  const PipelineSection* pipeline = cell.baseline ? &*cell.baseline : cell.is_baseline ? &cell.pipeline : nullptr;
  if (pipeline && has_rules(*pipeline)) shared.set("target rules", pipeline->target);
  if (pipeline && drafts_nothing(*pipeline))
    shared.set_path("model.draft", {});
  else if (pipeline)
    key = pipeline->drafter.to_flow() + pipeline->verifier.to_flow() + pipeline->policy.to_flow() +
          pipeline->tree.to_flow();
  return io::content_hash(shared.to_flow() + baseline.to_flow() + key);
}

std::size_t count_values(const ConfigValue& value) {
  std::size_t count = 1;
  for (const ConfigValue& item : value.items()) count += count_values(item);
  for (const auto& entry : value.entries()) count += count_values(entry.value);
  return count;
}

void set_swept(ConfigValue& cell, const std::string& path, const ConfigValue& value) {
  const std::string section = path.substr(0, path.find('.'));
  if (std::find(kCellSections.begin(), kCellSections.end(), section) == kCellSections.end()) {
    const std::vector<std::string> known(kCellSections.begin(), kCellSections.end());
    throw Error(value.where(), unknown_name_message("section in the sweep's '" + excerpt(path) + "'", section, known));
  }
  placed_at(value.where(), [&] { cell.set_path(path, value); });
}

// Each cell has the study's values for itself.
void check_size(const ConfigValue& document, std::size_t cells, const ConfigValue& sweep) {
  constexpr std::size_t kMaxValues = 20'000'000;
  const std::size_t values = count_values(document);
  if (cells * values > kMaxValues)
    fail_at(sweep.where(), "sweep: {} of a study of {}; at most {} values are taken in all", counted(cells, "cell"),
            counted(values, "value"), kMaxValues);
}

Cell read_cell(const ConfigValue& document, const StudySections& study) {
  Cell cell;
  cell.document = cell_document(document);
  cell.hash = io::content_hash(cell.document.to_flow() + study.baseline.to_flow());
  cell.model = read_section<ModelSection>(document, "model");
  cell.pipeline = read_pipeline(document);
  cell.sampling = read_section<SamplingOptions>(document, "sampling");
  cell.workload = *document.find("workload");
  cell.run = read_section<RunSection>(document, "run");
  read_baseline(cell, study.baseline);
  cell.group = group_of(cell, study.baseline);
  return cell;
}

}  // namespace

void ModelSection::declare(Parameters& p) {
  p.add("target", target, "a model's folder, or {type: ...}; see `foretell list targets`", {.required = true});
  p.add("draft", draft, "a draft model's folder, or {type: random | imported | inflated, ...}");
  p.add("dtype", dtype, "f32, bf16, f64, or int8 or int4 (weights); without it what the checkpoint says");
  p.add("kv_dtype", kv_dtype,
        "of keys and values: auto (as the model's), or int8 with a scale for each head and token");
  p.add("device", device, "cpu, cuda or cuda:N");
}

PipelineSection::PipelineSection() : drafter(typed("none")), verifier(typed("rejection")), policy(typed("fixed")) {}

void PipelineSection::declare(Parameters& p) {
  p.add("target", target,
        "rules under which the target scores: {router, attention, layers, int8}; ~: the checkpoint's");
  p.add("drafter", drafter, "who proposes; see `foretell list drafters`");
  p.add("verifier", verifier, "who decides; see `foretell list verifiers`");
  p.add("policy", policy, "how much is drafted; see `foretell list policies`");
  p.add("tree", tree, "which shape is drafted; see `foretell list trees`");
}

void RunSection::declare(Parameters& p) {
  p.add("seed", seed, "random seed", {.min = 0});
  p.add("repeats", repeats, "runs per prompt; times are medians", {.min = 1, .aliases = {"num_runs", "repetitions"}});
  p.add("warmup", warmup, "runs of the first prompt that are not counted", {.min = 0});
  p.add("threads", threads, "CPU threads, at most one a processor; without it LibTorch's default",
        {.min = 1, .max = 4096});
  p.add("oversubscribe", oversubscribe, "allow more threads than there are processors");
  p.add("batch_size", batch_size, "sequences that are decoded at once",
        {.min = 1, .max = 4096, .aliases = {"max_num_seqs"}});
  p.add("quality", quality,
        "answers beside the target's greedy text, and their perplexity; auto: where a cell of the study is lossy "
        "towards the checkpoint",
        {.choices = {"auto", "always", "never"}});
  p.add("noise_gate", noise_gate,
        "prompts whose threads waited a larger share of their time than this for processors that others had are timed "
        "again; none: it is "
        "told",
        {.min = 0.01, .max = 1});
  p.add("noise_gate_repeats", noise_gate_repeats, "how often at most; the attempt that waited least is kept",
        {.min = 1, .max = 100});
  p.add("noise_gate_pause", noise_gate_pause, "seconds to wait at most, before each, for the others to be done",
        {.min = 0, .max = 3600});
  p.add("interleave", interleave,
        "baseline and methods run prompt by prompt beside one another; false: one after the other");
  p.add("pin_threads", pin_threads, "each thread stays on one processor, where there are enough of them");
  p.add("request_rate", request_rate,
        "requests a second that arrive by themselves, at random times (Poisson); none: the next ones start when the "
        "last ones have ended",
        {.min = 1e-6});
  p.add("slo_ttft_ms", slo_ttft_ms,
        "a request is good if its first token comes within this time; goodput counts good requests", {.min = 1e-6});
  p.add("slo_tpot_ms", slo_tpot_ms, "and if a token takes no longer than this, the first one aside", {.min = 1e-6});
  p.add("slo_latency_ms", slo_latency_ms, "and if it has ended within this time", {.min = 1e-6});
  p.add("power_watts", power_watts, "what the machine draws, for energy where it cannot be measured", {.min = 1e-6});
}

std::string full_path(const std::string& dotted) {
  static const std::set<std::string> parts = {"target", "drafter", "verifier", "policy", "tree"};
  return parts.count(dotted.substr(0, dotted.find('.'))) ? "pipeline." + dotted : dotted;
}

Study load_study(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  const std::filesystem::path folder = file.parent_path();
  ConfigValue document = load_with_includes(file, inline_sections);
  if (!document.is_map())
    fail_at({file.string(), 1},
            "a study is a mapping with the keys study, model, pipeline, sampling, workload, run, baseline, sweep");
  override_all(document, overrides, folder);
  StudySections sections;
  Parameters::read(document, "the study", sections);
  check_name(sections, document);
  load_plugins(sections.plugins, folder);

  const auto again = cell_overrides(overrides);
  const std::vector<SweepPoint> points = expand_sweep(sections.sweep, again);
  const ConfigValue shared = cell_document(document);
  check_size(shared, points.size(), sections.sweep);

  Study study{sections.study, sections.description, file, sections.study, sections.overlap};
  std::set<std::string> hashes;
  for (const SweepPoint& point : points) {
    ConfigValue chosen = shared;
    for (const auto& [path, value] : point.values) set_swept(chosen, path, value);
    inline_sections(chosen, folder);
    override_all(chosen, again, folder);
    Cell cell = read_cell(chosen, sections);
    cell.settings = point.settings();
    cell.name = point.name().empty() ? short_name("drafter", cell.pipeline.drafter) : point.name();
    if (!hashes.insert(cell.hash).second) {
      if (point.may_repeat) continue;
      fail_at(sections.sweep.where(), "sweep: the cell '{}' comes twice", cell.name);
    }
    study.cells.push_back(std::move(cell));
  }
  // All cells of a table or none: a lossy one is to be compared with the others.
  const bool lossy = std::any_of(study.cells.begin(), study.cells.end(),
                                 [](const Cell& cell) { return !losslessness(cell.pipeline).towards_checkpoint; });
  for (Cell& cell : study.cells)
    cell.measures_quality = cell.run.quality == "always" || (cell.run.quality == "auto" && lossy);
  return study;
}

}  // namespace foretell::study
