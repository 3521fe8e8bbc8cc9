#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

#include "experiments/analysis/divergence_search.h"
#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/results/store.h"
#include "experiments/util/console.h"
#include "experiments/util/negative_result.h"
#include "experiments/workload/dialogue.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/file_bytes.h"

namespace foretell::cli::commands::models {
namespace {

struct DiffOptions {
  std::string a;
  std::optional<std::string> b;
  bool json = false;
};

// One cell's folder: what it ran on, and what came out.
struct Run {
  std::filesystem::path folder, target, study_folder;
  std::string name;                // of the cell
  nlohmann::ordered_json weights;  // the target's files with their hashes
  study::ModelSection model = {};
  SamplingOptions sampling = {};
  ConfigValue workload = {};
  std::vector<results::GenerationRecord> records = {};
};

template <class Section>
Section section_of(const ConfigValue& document, const char* key) {
  Section section;
  if (const ConfigValue* written = document.find(key)) Parameters::read(*written, key, section);
  return section;
}

Run read_run(const std::filesystem::path& folder) {
  const std::filesystem::path config = folder / "config.resolved.yaml", manifest = folder / "manifest.json";
  if (!std::filesystem::exists(config) || !std::filesystem::exists(manifest))
    fail(
        "{}: is not the folder of a cell; expected results/STUDY/HASH with config.resolved.yaml and manifest.json in "
        "it",
        folder.string());
  Run run{folder, {}, {}, {}, {}};
  const results::ResultJson file(manifest);
  const io::OrderedJsonView json = file.view();
  run.weights = json.at("target").raw();
  run.target = json.at("target").at("folder").string();
  run.study_folder = std::filesystem::path(json.at("study_file").string()).parent_path();
  run.name = json.at("cell").string();
  const ConfigValue document = parse_yaml(io::read_file_bytes(config), config.string());
  run.model = section_of<study::ModelSection>(document, "model");
  run.sampling = section_of<SamplingOptions>(document, "sampling");
  if (const ConfigValue* workload = document.find("workload")) run.workload = *workload;
  run.records = results::undamaged_records(folder);
  return run;
}

// The prompts of a run, made again from its workload. The text of earlier turns is what the cell's first run answered,
// as the runner has it.
class Prompts {
 public:
  Prompts(const Run& run, cell::ModelPool& pool)
      : run_(run),
        model_(pool.model(run.target, cell::load_options(run.model.dtype, run.model.device, run.model.kv_dtype))) {
    precision_ = analysis::Precision::of(cell::number_type(run.model.dtype, model_->config()));
    tokenizer_ = pool.tokenizer(run.target);
    workload_ = workload::load_workload(run.workload, run.study_folder, model_->config().vocab_size);
    dialogue_ =
        workload::Dialogue(tokenizer_, workload_.chat_template ? chat::ChatTemplate::get(*workload_.chat_template)
                                                               : pool.own_template(run.target));
    for (const workload::Conversation& c : workload_.conversations) conversations_[c.id] = &c;
    for (const results::GenerationRecord& record : run.records)
      first_answers_.try_emplace({record.conversation, record.turn}, record.text);
  }

  Tokens of(const results::GenerationRecord& record) const {
    const auto found = conversations_.find(record.conversation);
    if (found == conversations_.end())
      fail("{}: the workload has no conversation '{}' any more", run_.folder.string(), record.conversation);
    std::vector<std::string> answers;
    answers.reserve(static_cast<std::size_t>(record.turn));
    for (int turn = 0; turn < record.turn; ++turn) answers.push_back(first_answers_.at({record.conversation, turn}));
    return dialogue_.prompt(*found->second, record.turn, answers);
  }

  // What differences from another run are judged by.
  analysis::DivergenceSource source() const {
    return {.target = *model_,
            .sampling = run_.sampling,
            .precision = precision_,
            .tokenizer = tokenizer_.get(),
            .prompt = [this](const results::GenerationRecord& record) { return of(record); }};
  }

 private:
  const Run& run_;
  std::shared_ptr<const model::LanguageModel> model_;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  analysis::Precision precision_;
  workload::Workload workload_;
  workload::Dialogue dialogue_;
  std::map<std::string, const workload::Conversation*> conversations_;
  std::map<std::pair<std::string, int>, std::string> first_answers_;
};

void print_text(const analysis::Divergences& found) {
  for (const analysis::Divergence& d : found.found) util::print_out(d.words + "\n");
  util::print_out(fmt::format("{} compared: {} the same, {} differ at a tie, {} differ and are not explained",
                              counted(found.compared, "answer"), found.same, found.ties(), found.faults()));
  util::print_out(found.behind > 0 ? fmt::format("; {} behind an earlier difference\n", found.behind) : "\n");
}

void check_greedy(const Run& run) {
  if (!run.sampling.greedy())
    fail("{}: was sampled, and sampled runs differ by chance; only runs at temperature 0 can be compared",
         run.folder.string());
}

// Compares one cell with another, or with its own baseline; returns whether every difference is explained.
bool diff_cell(const Run& a, const std::optional<Run>& b, cell::ModelPool& pool, bool json) {
  check_greedy(a);
  if (b) check_greedy(*b);
  if (b && b->weights != a.weights)
    fail("the two runs have different targets: {} and {}", a.folder.string(), b->folder.string());
  const analysis::AnswersByPlace right = b ? analysis::answers_by_place(b->records, results::PipelineVariant::Method)
                                           : analysis::answers_by_place(a.records, results::PipelineVariant::Baseline);
  if (right.empty()) fail("{}: has no baseline to compare with; name a second run", a.folder.string());
  const Prompts prompts(a, pool);
  const analysis::Divergences found = analysis::find_divergences(
      analysis::answers_by_place(a.records, results::PipelineVariant::Method), right, prompts.source());
  if (found.compared + found.behind == 0) fail("the two runs have no prompt in common");
  json ? util::print_json(to_json(found)) : print_text(found);
  return found.faults() == 0;
}

// The cells of a study's folder that have a baseline of their own and are greedy.
std::vector<Run> cells_of(const std::filesystem::path& study) {
  std::vector<Run> cells;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(study, error)) {
    if (!std::filesystem::exists(entry.path() / "manifest.json")) continue;
    Run run = read_run(entry.path());
    if (run.sampling.greedy() && !analysis::answers_by_place(run.records, results::PipelineVariant::Baseline).empty())
      cells.push_back(std::move(run));
  }
  if (cells.empty())
    fail("{}: neither the folder of a cell nor one of a study that was run with a baseline at temperature 0",
         study.string());
  std::sort(cells.begin(), cells.end(), [](const Run& x, const Run& y) { return x.name < y.name; });
  return cells;
}

void run_diff(const DiffOptions& options) {
  cell::ModelPool pool("");
  bool explained = true;
  if (options.b || std::filesystem::exists(std::filesystem::path(options.a) / "manifest.json")) {
    explained = diff_cell(read_run(options.a), options.b ? std::optional(read_run(*options.b)) : std::nullopt, pool,
                          options.json);
  } else {
    for (const Run& cell : cells_of(options.a)) {
      if (!options.json) util::print_out(cell.name + ": ");
      explained = diff_cell(cell, std::nullopt, pool, options.json) && explained;
    }
  }
  if (!explained) throw util::NegativeResult();
}

}  // namespace

void add_diff_command(util::Command app) {
  auto options = std::make_shared<DiffOptions>();
  util::Command command = app.add_command(
      "diff", "Where two greedy runs differ, and whether the target can tell the two tokens apart there");
  command.add("run_a", options->a, "a cell's folder, results/STUDY/HASH, or a study's for all of its greedy cells",
              {.type = "RUN_A", .required = true});
  command.add("run_b", options->b, "another one; without it the baseline that was run beside A", {.type = "RUN_B"});
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] { run_diff(*options); });
}

}  // namespace foretell::cli::commands::models
