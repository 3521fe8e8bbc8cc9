#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/report/spec_bench_import.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/formats/bitllama.h"
#include "framework/formats/llama2c.h"

namespace foretell::cli::commands::inspect {
namespace {

using Import = void (*)(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                        const std::filesystem::path& out_dir);

struct ImportOptions {
  std::string file, tokenizer, out;
};

void add_format(util::Command command, const std::string& name, const std::string& summary, Import import) {
  auto options = std::make_shared<ImportOptions>();
  util::Command format = command.add_command(name, summary);
  format.add("file", options->file, "the checkpoint", {.type = "FILE", .required = true});
  format.add("--tokenizer", options->tokenizer, "its tokenizer file: .bin, .model or .json",
             {.type = "TOK", .required = true});
  format.add("--out", options->out, "the folder to make", {.type = "DIR", .required = true});
  format.run([options, import] {
    import(options->file, options->tokenizer, options->out);
    util::print_out(fmt::format("{}\n", options->out));
  });
}

struct AnswersOptions {
  std::string answers, out;
  std::optional<std::string> questions, baseline;
};

void add_spec_bench(util::Command command) {
  auto options = std::make_shared<AnswersOptions>();
  util::Command rows =
      command.add_command("spec-bench", "answer rows of Spec-Bench as a study's folder, for report and compare");
  rows.add("answers", options->answers, "the method's rows: model_answer/METHOD.jsonl",
           {.type = "FILE", .required = true});
  rows.add("--questions", options->questions, "question.jsonl, for the categories", {.type = "FILE"});
  rows.add("--baseline", options->baseline, "the rows of plain decoding, for a speed-up", {.type = "FILE"});
  rows.add("--out", options->out, "the study's folder to make", {.type = "DIR", .required = true});
  rows.run([options] {
    const std::string name = report::import_spec_bench({.answers = options->answers,
                                                        .questions = options->questions,
                                                        .baseline = options->baseline,
                                                        .out = options->out});
    util::print_out(fmt::format("{} in {}\n", util::one_line(name), options->out));
  });
}

}  // namespace

void add_import_command(util::Command app) {
  util::Command command =
      app.add_command("import", "Turn another program's files into ours: checkpoints, answer rows, routing logs");
  command.require_command();
  add_format(command, "llama2c", "a llama2.c checkpoint, version 0 or 1", formats::import_llama2c);
  add_spec_bench(command);
  estimate::add_router_log_format(command);
  add_format(command, "bitllama", "a ternary checkpoint of bitllama2.c (BitNet b1.58)", formats::import_bitllama);
}

}  // namespace foretell::cli::commands::inspect
