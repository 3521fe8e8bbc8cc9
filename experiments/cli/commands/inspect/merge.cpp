#include <filesystem>

#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/merge.h"
#include "experiments/results/study_lock.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::inspect {
namespace {

struct MergeOptions {
  std::vector<std::string> folders;
  std::string out;
  bool any_program = false;
};

void run_merge(const MergeOptions& options) {
  const std::vector<std::filesystem::path> folders(options.folders.begin(), options.folders.end());
  // The lock makes the folder: where none is, nothing stays behind of what is refused.
  if (!results::StudyLock::is_known(options.out)) report::check_mergeable(folders, options.out, !options.any_program);
  const results::StudyLock lock(options.out);
  const report::Merged merged = report::merge_results(folders, options.out, !options.any_program);
  util::print_out(fmt::format("{}: {} of {} complete in {}\n", merged.study, merged.complete,
                              counted(merged.cells, "cell"), merged.folder.string()));
  for (const std::string& note : merged.notes) util::print_error("note: " + note + "\n");
}

}  // namespace

void add_merge_command(util::Command app) {
  auto options = std::make_shared<MergeOptions>();
  util::Command command = app.add_command("merge", "Put the shards of a study together");
  command.add("folders", options->folders, "results/STUDY.shard-1-of-4 and so on",
              {.type = "DIR", .required = true, .many = true});
  command.add("--out", options->out,
              "the folder of the whole study, as `foretell run` would have made it: results/STUDY",
              {.type = "DIR", .required = true});
  command.add_flag("--any-revision", options->any_program,
                   "also shards that were made by other revisions of Foretell or of a plug-in");
  command.run([options] { run_merge(*options); });
}

}  // namespace foretell::cli::commands::inspect
