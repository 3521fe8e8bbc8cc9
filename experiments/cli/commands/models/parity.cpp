#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "experiments/analysis/draft_parity.h"
#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/negative_result.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::models {
namespace {

struct ParityOptions {
  std::string dump, model, drafter, head, device = "cpu";
  std::optional<std::string> dtype, write;
  study::ThreadOptions threads;
  double tolerance = 0.02;
  int drafted = 4;
  bool json = false;
};

void print_text(const std::vector<analysis::ParityStep>& steps) {
  bool first = true;
  for (const analysis::ParityStep& step : steps) {
    const std::string verdict = !step.given  ? "not in the dump"
                                : step.equal ? "equal"
                                : first      ? "FIRST DIFFERENCE"
                                             : "differs";
    if (step.given && !step.equal) first = false;
    util::print_out(fmt::format("{:<16}{:<17}", step.quantity, verdict));
    if (step.given && step.worst > 0) util::print_out(fmt::format("{:<12.3g}", step.worst));
    util::print_out(step.words + "\n");
  }
  if (first) util::print_out("no difference\n");
}

nlohmann::ordered_json to_json(const std::vector<analysis::ParityStep>& steps) {
  auto all = nlohmann::ordered_json::array();
  nlohmann::ordered_json first = nullptr;
  for (const analysis::ParityStep& step : steps) {
    all.push_back({{"quantity", step.quantity},
                   {"given", step.given},
                   {"equal", step.equal},
                   {"largest_difference", step.worst},
                   {"words", step.words}});
    if (first.is_null() && step.given && !step.equal) first = step.quantity;
  }
  return {{"first_difference", first}, {"quantities", all}};
}

void run_parity(const ParityOptions& options) {
  options.threads.apply();
  const analysis::DraftDump dump = analysis::read_draft_dump(options.dump);
  cell::ModelPool pool("");
  const auto target = pool.model(options.model, cell::load_options(options.dtype, options.device));
  const auto tracer = decoding::heads::make_tracer(options.drafter, options.head, target);
  if (options.write) {
    Tokens text;
    for (const std::int64_t id : dump.text) {
      if (id < 0 || id >= target->config().vocab_size)
        fail("{}: the text holds the token {}, the target has ids 0 to {}", options.dump, id,
             target->config().vocab_size - 1);
      text.push_back(static_cast<Token>(id));
    }
    analysis::write_draft_dump(*options.write, analysis::own_dump(text, *target, *tracer, options.drafted));
  }
  const std::vector<analysis::ParityStep> steps = analysis::compare_draft(dump, *target, *tracer, options.tolerance);
  options.json ? util::print_json(to_json(steps)) : print_text(steps);
  for (const analysis::ParityStep& step : steps)
    if (step.given && !step.equal) throw util::NegativeResult();
}

}  // namespace

void add_parity_command(util::Command app) {
  auto options = std::make_shared<ParityOptions>();
  util::Command command = app.add_command(
      "parity",
      "Where a draft head in another engine first differs from the same weights here, from a dump of one draft");
  command.add("dump", options->dump, "a safetensors file: docs/guide/parity.md says what is in it",
              {.type = "DUMP", .required = true});
  command.add("--model", options->model, "the target model's folder", {.type = "DIR", .required = true});
  command.add("--drafter", options->drafter,
              fmt::format("which drafter: {}", fmt::join(decoding::heads::traced_drafters(), ", ")),
              {.type = "NAME", .required = true});
  command.add("--head", options->head, "the head's folder", {.type = "DIR", .required = true});
  command.add("--tolerance", options->tolerance, "of states and logits, in units of a row's largest value",
              {.type = "X", .show_default = true, .min = 0});
  command.add("--write", options->write, "writes a dump of the same text as it is computed here", {.type = "FILE"});
  command.add("--drafted", options->drafted, "tokens of a draft in that dump, where the drafter leaves it open",
              {.type = "N", .show_default = true, .min = 1, .max = 64});
  command.add("--dtype", options->dtype, "f32, bf16 or f64; without it what the checkpoint says", {.type = "T"});
  command.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  options->threads.declare(command);
  command.add_flag("--json", options->json, "as one JSON object");
  command.run([options] { run_parity(*options); });
}

}  // namespace foretell::cli::commands::models
