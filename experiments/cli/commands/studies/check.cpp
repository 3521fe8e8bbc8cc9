#include <unistd.h>

#include "experiments/cell/cell_setup.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::studies {
namespace {

// Random models that a study asks for are made here and are gone when the check is over: checking leaves nothing
// behind.
class ScratchFolder {
 public:
  ScratchFolder() : path_(std::filesystem::temp_directory_path() / fmt::format("foretell-check-{}", ::getpid())) {}
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void check_study(const std::string& file, const std::vector<std::string>& overrides) {
  const study::Study study = study::load_study(file, overrides);
  const ScratchFolder scratch;
  cell::ModelPool pool(scratch.path());
  const std::vector<cell::CheckedCell> checked = cell::check_cells(study, pool);
  util::print_out(fmt::format("ok: {}\n", counted(study.cells.size(), "cell")));
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (checked[i].lossless.towards_checkpoint) continue;
    const study::Cell& cell = study.cells[i];
    const std::string kept = has_rules(cell.pipeline) ? study::in_words(checked[i].lossless) : "lossy";
    util::print_out(printable(fmt::format("note: cell '{}' is {}", cell.name, kept)) + "\n");
  }
}

}  // namespace

void add_check_command(util::Command app) {
  struct Options {
    std::string study;
    std::vector<std::string> overrides, plugins;
    bool oversubscribe = false;
  };
  auto options = std::make_shared<Options>();
  util::Command command = app.add_command("check", "Find what is wrong with a study without running it");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--set", options->overrides, "override a value, as in `run`", {.type = "PATH=VALUE"});
  study::add_oversubscribe_flag(command, options->oversubscribe);
  study::add_plugin_option(command, options->plugins);
  command.run([options] {
    study::load_plugins(options->plugins);
    check_study(options->study, study::with_oversubscribe(options->overrides, options->oversubscribe));
  });
}

}  // namespace foretell::cli::commands::studies
