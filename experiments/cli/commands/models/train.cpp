#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <limits>

#include "experiments/cli/commands/models/commands.h"
#include "experiments/cli/commands/models/train_progress.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/paths.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/training/training_run.h"

namespace foretell::cli::commands::models {
namespace {

struct TrainOptions {
  std::string file;
  std::optional<std::string> out;
  std::vector<std::string> overrides, text;
  bool restart = false, oversubscribe = false;
};

// A path of the file, found here or beside the file.
void resolve(training::TrainSettings& settings, std::string_view key, std::string& path,
             const std::filesystem::path& folder) {
  path = util::resolve_path(path, settings.where(key), folder).string();
}

// The folders that a learner names: its target, and where that one's answers are kept, which need not be there yet.
void resolve_learner(ConfigValue& learner, const std::filesystem::path& folder) {
  if (const ConfigValue* target = learner.find("target"))
    learner.set("target", ConfigValue::scalar(util::resolve_path(*target, "target", folder).string(), target->where()));
}

training::TrainSettings load_settings(const TrainOptions& options) {
  ConfigValue document = load_yaml(options.file);
  for (const std::string& assignment : study::with_oversubscribe(options.overrides, options.oversubscribe))
    apply_override(document, assignment);
  if (!options.text.empty()) {
    std::vector<ConfigValue> files;
    for (const std::string& file : options.text) files.push_back(ConfigValue::scalar(file, {"--text", {}}));
    document.set_path("data.type", ConfigValue::scalar("text", {"--text", {}}));
    document.set_path("data.files", ConfigValue::list(std::move(files), {"--text", {}}));
  }
  training::TrainSettings settings = training::read_train_settings(document);
  const std::filesystem::path folder = std::filesystem::path(options.file).parent_path();
  if (settings.model.config) resolve(settings, "model.config", *settings.model.config, folder);
  if (settings.model.from) resolve(settings, "model.from", *settings.model.from, folder);
  if (settings.model.tokenizer) resolve(settings, "model.tokenizer", *settings.model.tokenizer, folder);
  resolve_learner(settings.learner, folder);
  for (std::string& file : settings.data.files) resolve(settings, "data.files", file, folder);
  return settings;
}

// A step's tensors go away with it. Given back to the system each time, their pages would be cleared anew in every
// step.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

void train(const TrainOptions& options) {
  keep_freed_memory();
  training::TrainSettings settings = load_settings(options);
  const std::optional<std::string> out = options.out ? options.out : settings.out;
  if (!out) fail_at(settings.document.where(), "train needs a folder to write to: the key 'out', or --out DIR");
  training::TrainingRun run(std::move(settings), *out, options.restart);
  const int steps = run.settings().run.steps;
  if (run.steps_done() >= steps) {
    util::print_out(fmt::format("{}: all {} are done; --restart would begin again\n", *out, counted(steps, "step")));
    return;
  }
  TrainProgressLine line;
  line.note(fmt::format("{}: {:.2f} million parameters, {}{}", run.settings().name,
                        static_cast<double>(run.learner().parameter_count()) / 1e6, counted(steps, "step"),
                        run.steps_done() > 0 ? fmt::format(", going on after step {}", run.steps_done()) : ""));
  const util::InterruptGuard guard;
  training::TrainHooks hooks;
  hooks.on_step = [&](const training::TrainProgress& progress) { line.show(progress); };
  hooks.note = [&](const std::string& text) { line.note(text); };
  hooks.stop = util::interrupted;
  if (!run.run(hooks)) {
    line.note("");
    throw util::Interrupted(
        fmt::format("interrupted after step {} of {}; the same command goes on from there", run.steps_done(), steps));
  }
  util::print_out(*out + "\n");
}

std::string parameter_help() {
  std::string text =
      "Keys of the training file (foretell's usual YAML; `train: NAME` and `out: DIR` stand beside the sections):\n";
  for (const auto& [section, parameters] : training::train_parameters()) {
    text += fmt::format("\n  {}:\n", section);
    for (const ParameterDoc& p : parameters)
      text +=
          fmt::format("    {:<18} {} (default {})\n", p.name, p.doc, p.default_value.empty() ? "''" : p.default_value);
  }
  return text;
}

}  // namespace

void add_train_command(util::Command app) {
  auto options = std::make_shared<TrainOptions>();
  util::Command command =
      app.add_command("train", "Train a model, a draft or draft heads on generated tasks, text or a target's answers");
  command.add("file", options->file, "the training file", {.type = "CONFIG.yaml", .required = true});
  command.add("--out", options->out, "the folder to make; a run that was stopped goes on there", {.type = "DIR"});
  command.add("--text", options->text, "train on these text files", {.type = "FILE", .many = true});
  command.add("--set", options->overrides, "override a value: a.b=c (repeatable)", {.type = "PATH=VALUE"});
  study::add_oversubscribe_flag(command, options->oversubscribe);
  command.add_flag("--restart", options->restart, "begin again, whatever lies in the folder");
  command.footer(parameter_help);
  command.run([options] { train(*options); });
}

}  // namespace foretell::cli::commands::models
