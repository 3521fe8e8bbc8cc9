#include <nlohmann/json.hpp>

#include "experiments/analysis/advice.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/util/console.h"
#include "experiments/util/number_list.h"
#include "experiments/util/scratch_folder.h"
#include "framework/core/printable.h"

namespace foretell::cli::commands::studies {
namespace {

constexpr int kMostBatch = 1 << 20, kMostLength = 4096, kMostContextTokens = 1 << 24;

struct AdviseOptions {
  std::string study, hardware, devices = "configs/hardware", batches = "1,8,64", lengths = "1,2,4,8";
  std::vector<std::string> overrides, plugins;
  int context = 1024;
  bool json = false;
};

analysis::Advice advise_cell(const study::Cell& cell, const std::filesystem::path& folder, cell::ModelPool& pool,
                             const cost::operators::Hardware& hardware, const analysis::AdviceCase& of) {
  if (const auto mismatch = analysis::mismatch_of(cell, folder, pool)) return *mismatch;
  return analysis::advice_of(cell, cell::check_cell(cell, folder, pool), hardware, of);
}

void advise(const AdviseOptions& options) {
  const study::Study study = study::load_study(options.study, options.overrides);
  const auto hardware = cost::operators::load_hardware(options.hardware, options.devices);
  const analysis::AdviceCase of{.batches = util::parse_positive_list(options.batches, "--batch", kMostBatch),
                                .lengths = util::parse_positive_list(options.lengths, "--draft-tokens", kMostLength),
                                .context = static_cast<double>(options.context)};
  const util::ScratchFolder scratch("advise");
  cell::ModelPool pool(scratch.path());
  nlohmann::ordered_json json{{"study", study.name}, {"hardware", hardware.name}};
  json["cells"] = nlohmann::ordered_json::array();
  for (const study::Cell& cell : study.cells) {
    const analysis::Advice advice = advise_cell(cell, study.file.parent_path(), pool, hardware, of);
    if (options.json)
      json["cells"].push_back(analysis::to_json(advice));
    else
      util::print_out(std::string(&cell == study.cells.data() ? "" : "\n") + analysis::to_text(advice, of));
  }
  if (options.json) util::print_json(json, 2);
}

}  // namespace

void add_advise_command(util::Command app) {
  auto options = std::make_shared<AdviseOptions>();
  util::Command command =
      app.add_command("advise", "Whether a study's drafts can pay on a device, by arithmetic, before it runs");
  command.add("study", options->study, "the study's YAML file", {.type = "STUDY.yaml", .required = true});
  command.add("--hardware", options->hardware, "one of configs/hardware, or a YAML file",
              {.type = "NAME", .required = true});
  command.add("--devices", options->devices, "the folder of devices", {.type = "DIR", .show_default = true});
  command.add("--set", options->overrides, "override a value, as in `run`", {.type = "PATH=VALUE"});
  command.add("--batch", options->batches, "sequences", {.type = "N,N,...", .show_default = true});
  command.add("--draft-tokens", options->lengths, "lengths of a chain", {.type = "N,N,...", .show_default = true});
  command.add("--seq", options->context, "tokens in the KV cache of each",
              {.type = "N", .show_default = true, .min = 0, .max = kMostContextTokens});
  study::add_plugin_option(command, options->plugins);
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] {
    study::load_plugins(options->plugins);
    advise(*options);
  });
}

}  // namespace foretell::cli::commands::studies
