#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "experiments/analysis/model_shape.h"
#include "experiments/cell/cell_setup.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"
#include "framework/moe/feasibility.h"

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

// One row of the target under the rules of a draft of its own, where these are fewer experts.
std::optional<int> drafted_experts(const study::Cell& cell, const formats::MoeConfig& moe) {
  const ConfigValue& drafter = cell.pipeline.drafter;
  const ConfigValue* name = drafter.is_scalar() ? &drafter : drafter.find("type");
  const std::string type = name && name->is_scalar() ? name->text() : "";
  if (moe.experts == 0 || (type != "self" && type != "fewer_experts")) return std::nullopt;
  const ConfigValue* k = drafter.is_scalar() ? nullptr : drafter.find_path(type == "self" ? "router.k" : "k");
  if (k && k->is_scalar()) return std::clamp(std::atoi(k->text().c_str()), 1, moe.experts);
  return type == "self" ? moe.experts_per_token : (moe.experts_per_token + 1) / 2;
}

// Why a draft can hardly pay; empty where it can, or where that is not known.
std::string feasibility_of(const study::Cell& cell, const cell::CheckedCell& checked, std::optional<double> ratio) {
  if (!checked.target || checked.limits.depth <= 0) return "";
  const bool rounded = cell.model.dtype == "int8" || cell.model.dtype == "int4";
  const bool half = cell.model.dtype ? *cell.model.dtype == "bf16" : checked.target->dtype == "bfloat16";
  const double bytes = rounded ? 1 : half ? 2 : 4;
  moe::DraftCase of{.target = analysis::model_shape(*checked.target, bytes),
                    .depth = checked.limits.depth,
                    .nodes = checked.limits.nodes,
                    .batch = cell.run.batch_size,
                    .operations_per_byte = ratio};
  if (checked.draft)
    of.step_bytes = cost::forward_cost(analysis::model_shape(*checked.draft, bytes), of.batch, 0).bytes();
  if (const auto experts = drafted_experts(cell, checked.target->moe)) {
    cost::ModelShape drafting = of.target;
    drafting.active_experts = *experts;
    of.step_bytes = cost::forward_cost(drafting, of.batch, 0).bytes();
  }
  return moe::feasibility_note(of, moe::draft_feasibility(of));
}

void check_study(const std::string& file, const std::vector<std::string>& overrides, std::optional<double> ratio) {
  const study::Study study = study::load_study(file, overrides);
  const ScratchFolder scratch;
  cell::ModelPool pool(scratch.path());
  const std::vector<cell::CheckedCell> checked = cell::check_cells(study, pool);
  util::print_out(fmt::format("ok: {}\n", counted(study.cells.size(), "cell")));
  for (std::size_t i = 0; i < checked.size(); ++i)
    if (const std::string why = feasibility_of(study.cells[i], checked[i], ratio); !why.empty())
      util::print_out(printable(fmt::format("note: cell '{}': {}", study.cells[i].name, why)) + "\n");
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
    std::optional<double> ratio;
  };
  auto options = std::make_shared<Options>();
  util::Command command = app.add_command("check", "Find what is wrong with a study without running it");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--set", options->overrides, "override a value, as in `run`", {.type = "PATH=VALUE"});
  command.add("--ops-per-byte", options->ratio,
              "operations that the machine does while it reads one byte: beyond them a batch is too large for drafts; "
              "none: memory alone counts",
              {.type = "R", .min = 0.1, .max = 1e6});
  study::add_oversubscribe_flag(command, options->oversubscribe);
  study::add_plugin_option(command, options->plugins);
  command.run([options] {
    study::load_plugins(options->plugins);
    check_study(options->study, study::with_oversubscribe(options->overrides, options->oversubscribe), options->ratio);
  });
}

}  // namespace foretell::cli::commands::studies
