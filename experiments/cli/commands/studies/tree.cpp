#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>

#include "experiments/analysis/acceptance_by_rank.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/progress.h"
#include "experiments/util/shell_quote.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/sequoia.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::cli::commands::studies {
namespace {

struct OptimizeOptions {
  std::string study, out;
  std::vector<std::string> overrides;
  std::optional<int> limit;
  std::optional<double> draft_cost;
  std::string row_cost = "measured";
  int max_nodes = 64, max_depth = 10, ranks = 16;
  bool oversubscribe = false;
};

// The tree that a drafter, or one inside it, names for itself; null if none does.
const ConfigValue* own_tree(const ConfigValue& drafter) {
  const ConfigValue* tree = drafter.find("tree");
  if (tree && (tree->is_map() || (tree->is_scalar() && tree->text() == "none"))) return tree;
  for (const ConfigValue& item : drafter.items())
    if (const ConfigValue* found = own_tree(item)) return found;
  for (const auto& entry : drafter.entries())
    if (const ConfigValue* found = own_tree(entry.value)) return found;
  return nullptr;
}

// The study's one cell, drafting a single level of so many siblings.
study::Cell load_cell(const OptimizeOptions& options) {
  std::vector<std::string> overrides = study::with_oversubscribe(options.overrides, options.oversubscribe);
  if (options.limit) overrides.push_back(fmt::format("workload.limit={}", *options.limit));
  overrides.push_back(fmt::format("pipeline.tree={{type: widths, widths: [{}]}}", options.ranks));
  overrides.push_back("pipeline.policy={type: fixed}");
  overrides.push_back("baseline=none");
  study::Study study = study::load_study(options.study, overrides);
  if (study.cells.size() != 1)
    fail("{}: a tree is made for one pipeline, the study has {}: choose with --set", options.study,
         counted(study.cells.size(), "cell"));
  if (const ConfigValue* tree = own_tree(study.cells.front().pipeline.drafter))
    fail_at(tree->where(), "a drafter's own tree stands in the way of the one that is measured: leave it out");
  return std::move(study.cells.front());
}

analysis::RankCounts measure(const OptimizeOptions& options, const study::Cell& cell, const cell::CellSetup& setup) {
  if (!setup.method.front().drafter->form().tree) fail("{}: its drafter makes no trees", options.study);
  util::Progress progress(1);
  const util::InterruptGuard guard;
  progress.start_cell("acceptance by rank", static_cast<int>(setup.workload.conversations.size()));
  analysis::RankCounts counts =
      analysis::count_accepted_ranks(cell, setup, options.ranks, [&] { progress.advance(1); });
  progress.finish_cell();
  if (util::interrupted()) throw util::Interrupted("interrupted; no tree was written");
  if (counts.rounds == 0) fail("{}: its prompts gave no round with a draft", options.study);
  return counts;
}

std::string rates_text(const analysis::RankCounts& counts) {
  std::vector<std::string> rates;
  for (const double rate : counts.rates()) rates.push_back(fmt::format("{:.4f}", rate));
  return fmt::format("{}", fmt::join(rates, ", "));
}

void print_sizes(const bases::SequoiaTable& table, const bases::RoundCosts& costs, int best) {
  util::Table text({"nodes", "depth", "tokens a round", "ms a round", "tokens/s", "over plain", "<"});
  const double plain = 1e9 / costs.plain(1);
  std::vector<int> sizes = {0, best};
  for (int nodes = 1; nodes <= table.max_nodes(); nodes *= 2) sizes.push_back(nodes);
  sizes.push_back(table.max_nodes());
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  for (const int nodes : sizes) {
    const bases::SizedTree sized = bases::fastest_tree(table, costs, nodes);
    const double speed = 1e9 * sized.expected_emitted / sized.ns;
    text.add({std::to_string(nodes), std::to_string(sized.tree.depth()), fmt::format("{:.3f}", sized.expected_emitted),
              fmt::format("{:.3f}", sized.ns * 1e-6), fmt::format("{:.1f}", speed),
              fmt::format("{:.2f}x", speed / plain), nodes == best ? "fastest" : ""});
  }
  util::print_out(text.to_string());
}

void write_tree(const std::string& path, const bases::RankTree& tree, const std::string& comment) {
  std::ofstream file(path);
  file << tree.to_yaml(comment);
  file.flush();
  if (!file) fail("{}: cannot be written", path);
}

void optimize(const OptimizeOptions& options) {
  if (options.max_nodes > bases::SequoiaTable::kMostNodes || options.max_depth > bases::SequoiaTable::kMostDepth ||
      options.ranks > bases::SequoiaTable::kMostRanks)
    fail("--max-nodes, --max-depth and --ranks are at most {}, {} and {}", bases::SequoiaTable::kMostNodes,
         bases::SequoiaTable::kMostDepth, bases::SequoiaTable::kMostRanks);
  const study::Cell cell = load_cell(options);
  cell::ModelPool pool("results/.models");
  const cell::CellSetup setup = cell::set_up_cell(cell, std::filesystem::path(options.study).parent_path(), pool,
                                                  {.costs = cell::Costs::Assumed});
  kernels::use_threads(cell.run.threads);
  if (!setup.timed()) fail("{}: a recorded answer has no times, so no size is the fastest", options.study);
  const analysis::RankCounts counts = measure(options, cell, setup);
  util::print_out(
      fmt::format("accepted by rank, over {}: {}\n\n", counted(counts.rounds, "round"), rates_text(counts)));

  BuildContext context;
  context.row_costs = [&]() -> std::shared_ptr<const cost::RowCosts> {
    auto measured = pool.row_costs(setup.target_folder, setup.draft_folder,
                                   cell::load_options(cell.model.dtype, cell.model.device));
    if (options.row_cost == "measured") return measured;
    return std::make_shared<const cost::RowCosts>(std::vector{measured->target_points().front()},
                                                  measured->draft_points());
  };
  const bases::RoundCosts costs(context, options.draft_cost);
  const bases::SequoiaTable table(counts.rates(), options.max_nodes, options.max_depth);
  const bases::SizedTree fastest = bases::fastest_tree(table, costs);
  print_sizes(table, costs, fastest.tree.nodes());
  util::print_out(
      "\npredicted from the acceptance by rank and from the measured cost of forwards; verifying and the loop are not "
      "counted\n");
  if (fastest.tree.nodes() == 0)
    return util::print_out(fmt::format("no tree pays on this machine; {} was not written\n", options.out));
  write_tree(options.out, fastest.tree,
             fmt::format("A tree of {} for {}; accepted by rank: {}", counted(fastest.tree.nodes(), "node"),
                         options.study, rates_text(counts)));
  util::print_out(fmt::format(
      "{} has {}; it is used with --set {}\n", options.out, counted(fastest.tree.nodes(), "node"),
      util::shell_quoted("pipeline.tree={type: static, file: " + ConfigValue::scalar(options.out).to_flow() + "}")));
}

}  // namespace

void add_tree_command(util::Command app) {
  auto options = std::make_shared<OptimizeOptions>();
  util::Command command = app.add_command("tree", "Shapes of draft trees");
  command.require_command();
  util::Command best = command.add_command(
      "optimize", "measure a study's acceptance by rank, and write the fastest tree on this machine (Sequoia)");
  best.add("study", options->study, "the study's YAML file; one cell, whose drafter makes trees",
           {.type = "STUDY.yaml", .required = true});
  best.add("--out", options->out, "the tree's file, for the tree policy `static`", {.type = "FILE", .required = true});
  best.add("--set", options->overrides, "override a value: a.b=c (repeatable)", {.type = "PATH=VALUE"});
  study::add_oversubscribe_flag(best, options->oversubscribe);
  best.add("--limit", options->limit, "maximum number of prompts, from the first one on; 0: all (workload.limit)",
           {.type = "N", .min = 0});
  best.add("--max-nodes", options->max_nodes, "of the tree", {.type = "N", .show_default = true, .min = 1});
  best.add("--max-depth", options->max_depth, "of the tree", {.type = "N", .show_default = true, .min = 1});
  best.add("--ranks", options->ranks, "siblings whose acceptance is measured",
           {.type = "N", .show_default = true, .min = 1});
  best.add("--row-cost", options->row_cost,
           "measured, or flat: the target's rows cost nothing but the first, as on a machine with compute to spare",
           {.show_default = true, .choices = {"measured", "flat"}});
  best.add("--draft-cost", options->draft_cost,
           "a level of the draft in units of a plain round; without it the draft model is measured", {.type = "C"});
  best.run([options] { optimize(*options); });
}

}  // namespace foretell::cli::commands::studies
