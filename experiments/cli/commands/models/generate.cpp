#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "experiments/analysis/divergence_search.h"
#include "experiments/cell/model_pool.h"
#include "experiments/cell/ruled_pipeline.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/runner/round_printer.h"
#include "experiments/study/pipeline.h"
#include "experiments/study/plugins.h"
#include "experiments/study/thread_options.h"
#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/number_list.h"
#include "experiments/util/paths.h"
#include "experiments/util/shell_quote.h"
#include "experiments/util/stops.h"
#include "experiments/util/text_stream.h"
#include "framework/core/printable.h"
#include "framework/core/stopwatch.h"
#include "framework/core/text.h"
#include "framework/decoding/model_target.h"
#include "framework/metrics/metrics.h"

namespace foretell::cli::commands::models {
namespace {

struct GenerateOptions {
  std::string model;
  std::optional<std::string> prompt, ids, draft_model, drafter, verifier, dtype, kv_dtype;
  std::optional<std::string> temperature, top_k, top_p, min_p;
  std::optional<std::string> chat_template;
  std::string device = "cpu";
  std::vector<std::string> overrides, plugins, stop;
  int max_new_tokens = 128;
  std::uint64_t seed = 0;
  study::ThreadOptions threads;
  bool ignore_eos = false, show_rounds = false, json = false;
};

// The parts of a study that one generation has.
struct Sections {
  ConfigValue pipeline, sampling;
  void declare(Parameters& p) {
    p.add("pipeline", pipeline, "rules of the target, drafter, verifier, policy, tree");
    p.add("sampling", sampling, "from logits to a distribution");
  }
};

void set_flag(ConfigValue& document, const std::string& path, const std::optional<std::string>& value,
              const std::string& flag) {
  if (value) document.set_path(path, ConfigValue::scalar(*value, {flag, {}}));
}

ConfigValue document_of(const GenerateOptions& options) {
  ConfigValue document = ConfigValue::map({});
  document.set_path("pipeline.drafter.type", ConfigValue::scalar(options.draft_model ? "model" : "none"));
  set_flag(document, "pipeline.drafter.type", options.drafter, "--drafter");
  set_flag(document, "pipeline.verifier.type", options.verifier, "--verifier");
  set_flag(document, "sampling.temperature", options.temperature, "--temperature");
  set_flag(document, "sampling.top_k", options.top_k, "--top-k");
  set_flag(document, "sampling.top_p", options.top_p, "--top-p");
  set_flag(document, "sampling.min_p", options.min_p, "--min-p");
  for (const std::string& assignment : options.overrides) {
    const std::size_t equals = assignment.find('=');
    const std::string path = assignment.substr(0, equals);
    if (path == "sweep" || path.starts_with("sweep."))
      fail("--set {}: generate decodes with one pipeline; `foretell run STUDY.yaml --set {}` sweeps", path,
           util::shell_quoted(assignment));
    apply_override(document, equals == std::string::npos
                                 ? assignment
                                 : study::full_path(assignment.substr(0, equals)) + assignment.substr(equals));
  }
  return document;
}

class Generator {
 public:
  explicit Generator(const GenerateOptions& options) : options_(options), pool_("") {
    if (options.prompt.has_value() == options.ids.has_value()) fail("generate needs exactly one of --prompt and --ids");
    options.threads.apply();
    model_ = pool_.model(options.model, cell::load_options(options.dtype, options.device, options.kv_dtype));
    tokenizer_ = pool_.tokenizer(options.model);
    cell::check_vocabulary(*model_, tokenizer_.get(), options.model);
    target_ = decoding::make_model_target(model_);
    read_sections();
    make_request();
  }

  void run() {
    if (!options_.json && tokenizer_) stream_.emplace(tokenizer_, request_.prompt, options_.stop);
    const runner::RoundPrinter printer(tokenizer_);
    decoding::DecoderOptions decoder_options;
    decoder_options.on_round = [&](const decoding::RoundEvent& event) { show(event, printer); };
    decoding::Decoder decoder(pipeline_.target ? *pipeline_.target : *target_, pipeline_.view(), decoder_options);
    const util::InterruptGuard guard;
    const Stopwatch watch;
    decoder.add_request(request_);
    while (!decoder.idle() && !util::interrupted()) {
      decoder.step();
      for (Generation& generation : decoder.take_finished()) generation_ = std::move(generation);
    }
    finish(static_cast<double>(watch.elapsed_ns()) * 1e-9);
  }

 private:
  void read_sections() {
    Sections sections;
    Parameters::read(document_of(options_), "generate", sections);
    study::PipelineSection pipeline;
    Parameters::read(sections.pipeline, "section 'pipeline'", pipeline);
    Parameters::read(sections.sampling, "section 'sampling'", request_.sampling);
    BuildContext context;
    context.vocab = model_->config().vocab_size;
    context.target = model_;
    context.tokenizer = tokenizer_;
    context.draft_model = options_.draft_model;
    context.load_model = [this](const std::string& path) {
      return pool_.model(path, cell::load_options(options_.dtype, options_.device, options_.kv_dtype));
    };
    context.find_file = [](const std::string& path) { return util::resolve_path(path, {}, {}).string(); };
    context.load_tokenizer = [this](const std::string& path) { return pool_.tokenizer(path); };
    context.shared_ids = [this](const std::string& path) { return pool_.shared_ids(tokenizer_.get(), path); };
    context.row_costs = [this] {
      return pool_.row_costs(options_.model, options_.draft_model.value_or(""),
                             cell::load_options(options_.dtype, options_.device, options_.kv_dtype));
    };
    pipeline_ = cell::build_ruled_pipeline(pipeline, context);
    speculates_ = !drafts_nothing(pipeline);
  }

  void make_request() {
    const chat::ChatTemplate& chat = options_.chat_template || !options_.prompt
                                         ? chat::ChatTemplate::get(options_.chat_template.value_or("none"))
                                         : pool_.own_template(options_.model);
    if (!tokenizer_ && (options_.prompt || !options_.stop.empty()))
      fail("{}: has no tokenizer: give --ids instead of --prompt, and no --stop", options_.model);
    request_.prompt =
        options_.ids ? util::parse_ids(*options_.ids, "--ids")
                     : chat::encode_prompt(*tokenizer_, chat, std::vector<chat::Message>{{"user", *options_.prompt}});
    if (request_.prompt.empty()) fail("the prompt has no token");
    request_.max_new_tokens = options_.max_new_tokens;
    request_.seed = options_.seed;
    if (!options_.ignore_eos) request_.stop_tokens = util::stop_tokens_of(*model_, tokenizer_.get());
    if (tokenizer_) util::add_template_stops(*tokenizer_, chat, options_.ignore_eos, request_.stop_tokens);
    for (const std::string& s : options_.stop)
      if (s.empty()) fail("--stop: an empty text would stop everything");
    if (!options_.stop.empty())
      request_.stop_watcher = util::watch_stop_strings(tokenizer_, request_.prompt, options_.stop);
  }

  void show(const decoding::RoundEvent& event, const runner::RoundPrinter& printer) {
    const TokenSpan fresh = event.view.committed.last(event.record.emitted);
    so_far_.tokens.insert(so_far_.tokens.end(), fresh.begin(), fresh.end());
    so_far_.rounds.push_back(event.record);
    if (options_.show_rounds) {
      (options_.json ? util::print_error_styled : util::print_styled)(printer.print(event));
    } else if (stream_) {
      util::print_exact(stream_->push(fresh));
      util::flush_out();
    }
  }

  // Lossless decoding at temperature 0 says what plain decoding says, as far as the target's arithmetic does: in bf16
  // two logits are soon so near that the size of the forward decides. Where that is so the text is read once more, and
  // such places are told.
  void look_for_ties(const Generation& generation) {
    const analysis::Precision precision = analysis::Precision::of(cell::number_type(options_.dtype, model_->config()));
    if (!speculates_ || pipeline_.target || !request_.sampling.greedy() ||
        precision.rounding < analysis::Precision::of("bf16").rounding)
      return;
    const Sampler sampler(request_.sampling, model_->config().vocab_size);
    near_ties_ = analysis::near_ties(*model_, {request_.prompt, generation.tokens}, sampler, precision);
  }

  void print_ties(const Generation& generation) const {
    if (!near_ties_ || near_ties_->empty()) return;
    const analysis::NearTie& first = near_ties_->front();
    const auto shown = [this](Token token) {
      return tokenizer_ ? fmt::format("'{}'", printable(tokenizer_->decode(Tokens{token}))) : std::to_string(token);
    };
    util::print_error(
        fmt::format("note: at {} of {} the target's two best logits are nearer to one another than bf16 tells apart "
                    "(first at token {}: {} "
                    "and {}, {:.2g} apart); plain decoding may say the other one there and go on from it; --dtype f32 "
                    "tells them apart\n",
                    near_ties_->size(), counted(generation.tokens.size(), "token"), first.position, shown(first.best),
                    shown(first.second), first.margin));
  }

  void finish(double seconds) {
    const Generation& generation = generation_ ? *generation_ : so_far_;
    if (generation_) look_for_ties(generation);
    if (options_.json)
      util::print_json(to_json(generation, seconds));
    else
      print_answer(generation, seconds);
    if (!generation_)
      throw util::Interrupted(fmt::format("interrupted after {}", counted(generation.tokens.size(), "token")));
  }

  std::string text_of(TokenSpan tokens) const {
    return util::cut_at_stop_string(tokenizers::decode_continuation(tokenizer_, request_.prompt, tokens, true),
                                    options_.stop);
  }

  void print_answer(const Generation& generation, double seconds) {
    if (options_.show_rounds)
      util::print_exact(tokenizer_ ? "\n" + text_of(generation.tokens) + "\n" : "\n");
    else if (stream_)
      util::print_exact(stream_->finish() + "\n");
    if (!tokenizer_) util::print_out(fmt::format("{}\n", fmt::join(generation.tokens, " ")));
    print_ties(generation);
    const auto mean = metrics::mean_acceptance_length(generation.rounds);
    util::print_error(fmt::format("{} in {}, {:.3f} tokens a round, {:.1f} tokens/s\n",
                                  counted(generation.tokens.size(), "token"),
                                  counted(generation.rounds.size(), "round"), mean.value_or(0),
                                  static_cast<double>(generation.tokens.size()) / seconds));
  }

  nlohmann::ordered_json ties_json() const {
    if (!near_ties_) return nullptr;
    auto list = nlohmann::ordered_json::array();
    for (const analysis::NearTie& tie : *near_ties_)
      list.push_back({{"position", tie.position},
                      {"best", tie.best},
                      {"second", tie.second},
                      {"margin", tie.margin},
                      {"eps", tie.noise}});
    return list;
  }

  nlohmann::ordered_json to_json(const Generation& generation, double seconds) const {
    const auto mean = metrics::mean_acceptance_length(generation.rounds);
    const auto rate = metrics::draft_acceptance_rate(generation.rounds);
    const auto& inflated = model_->config().inflated_from;
    return {{"prompt_ids", request_.prompt},
            {"token_ids", generation.tokens},
            {"text", tokenizer_ ? nlohmann::ordered_json(text_of(generation.tokens)) : nullptr},
            {"rounds", generation.rounds.size()},
            {"mean_acceptance_length", mean ? nlohmann::ordered_json(*mean) : nullptr},
            {"draft_acceptance_rate", rate ? nlohmann::ordered_json(*rate) : nullptr},
            {"tokens_per_second", static_cast<double>(generation.tokens.size()) / seconds},
            {"near_ties", ties_json()},
            {"inflated_from", inflated ? nlohmann::ordered_json(*inflated) : nullptr},
            {"finish", generation_ ? to_string(generation.finish) : "interrupted"}};
  }

  const GenerateOptions& options_;
  cell::ModelPool pool_;
  std::shared_ptr<const model::LanguageModel> model_;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  std::unique_ptr<Target> target_;
  study::BuiltPipeline pipeline_;
  Request request_;
  std::optional<util::TextStream> stream_;
  bool speculates_ = false;
  std::optional<std::vector<analysis::NearTie>> near_ties_;  // none: not looked for
  Generation so_far_;                                        // what on_round has told
  std::optional<Generation> generation_;                     // none: interrupted
};

void add_output_options(util::Command& command, GenerateOptions& options) {
  command.add_flag("--show-rounds", options.show_rounds,
                   "print every round: what was drafted, accepted, rejected, and its times");
  command.add_flag("--json", options.json, "as one JSON object");
}

void add_sampling_options(util::Command& command, GenerateOptions& options) {
  command.add("--temperature", options.temperature, "0 is greedy", {.type = "T"});
  command.add("--top-k", options.top_k, "only the K most probable tokens; 0 for all", {.type = "K"});
  command.add("--top-p", options.top_p, "only the most probable tokens up to this mass", {.type = "P"});
  command.add("--min-p", options.min_p, "only tokens of at least this share of the highest probability", {.type = "P"});
  command.add("--seed", options.seed, "random seed", {.type = "S", .show_default = true});
}

void add_pipeline_options(util::Command& command, GenerateOptions& options) {
  command.add("--draft-model", options.draft_model, "a draft model's folder; implies --drafter model", {.type = "DIR"});
  command.add("--drafter", options.drafter, "see `foretell list drafters`", {.type = "NAME"});
  command.add("--verifier", options.verifier, "see `foretell list verifiers`", {.type = "NAME"});
  command.add("--set", options.overrides,
              "a parameter: drafter.key=value, verifier., policy., tree., sampling. (repeatable)",
              {.type = "PATH=VALUE"});
  study::add_plugin_option(command, options.plugins);
  study::add_trust_option(command);
}

}  // namespace

void add_generate_command(util::Command app) {
  auto options = std::make_shared<GenerateOptions>();
  util::Command command = app.add_command("generate", "Continue a prompt");
  command.add("--model", options->model, "the target model's folder", {.type = "DIR", .required = true});
  command.add("--prompt", options->prompt, "text; the folder needs a tokenizer", {.type = "TEXT"});
  command.add("--ids", options->ids, "token ids instead: \"1 2 3\"", {.type = "IDS"});
  command.add("--chat-template", options->chat_template,
              "vicuna, llama-3, chatml or none; without it the model's own, if it is one of these", {.type = "NAME"});
  command.add("--max-new-tokens", options->max_new_tokens, "maximum number of tokens of the answer",
              {.type = "N", .show_default = true, .min = 1});
  command.add_flag("--ignore-eos", options->ignore_eos, "go on after a stop token");
  command.add("--stop", options->stop, "a text that ends the answer (repeatable)", {.type = "TEXT"});
  add_sampling_options(command, *options);
  add_pipeline_options(command, *options);
  command.add("--dtype", options->dtype,
              "f32, bf16, f64, or int8 or int4 (weights); without it what the checkpoint says", {.type = "T"});
  command.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the model's) or int8", {.type = "T"});
  command.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  options->threads.declare(command);
  add_output_options(command, *options);
  command.run([options] {
    study::load_plugins(options->plugins);
    Generator(*options).run();
  });
}

}  // namespace foretell::cli::commands::models
