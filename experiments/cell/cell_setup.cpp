#include "experiments/cell/cell_setup.h"

#include <algorithm>
#include <limits>

#include "experiments/cell/replay_options.h"
#include "experiments/cell/ruled_pipeline.h"
#include "experiments/util/console.h"
#include "experiments/util/paths.h"
#include "framework/core/error.h"
#include "framework/core/processors.h"
#include "framework/decoding/model_target.h"
#include "framework/io/content_hash.h"
#include "framework/replay/replay_target.h"

namespace foretell::cell {
namespace {

struct Vocabulary {
  int size;
  std::optional<std::string> chat_template;  // none: the model's own
};

// The recorded tokenizer, where it is still to be had.
std::shared_ptr<const tokenizers::Tokenizer> recorded_tokenizer(const DistributionReplayDescription& options,
                                                                const ConfigValue& target,
                                                                const std::filesystem::path& folder, ModelPool& pool,
                                                                const results::RecordedSource& recorded) {
  if (!options.tokenizer) {
    const bool there = io::is_file_hash(recorded.hash, recorded.path);
    return there ? pool.tokenizer(std::filesystem::path(recorded.path).parent_path()) : nullptr;
  }
  const Location& where = target.find("tokenizer")->where();
  const auto path = util::resolve_path(*options.tokenizer, where, folder);
  if (!io::is_file_hash(recorded.hash, results::tokenizer_source(path).path))
    fail_at(where, "{}: is not the tokenizer of the recorded model, {}", path.string(),
            recorded.path.empty() ? "which had none" : recorded.path);
  return pool.tokenizer(path);
}

// The key's value, by its name today or before 0.2.
const ConfigValue* recorded_probs(const ConfigValue& target) {
  const ConfigValue* now = target.find("probs");
  return now ? now : target.find("laws");
}

Vocabulary set_up_distribution_replay(const study::Cell& cell, const std::filesystem::path& folder, ModelPool& pool,
                                      CellSetup& setup) {
  const ConfigValue& target = cell.model.target;
  DistributionReplayDescription options;
  Parameters::read(target, "target 'replay' of distributions", options, {"type"});
  const Location& where = recorded_probs(target)->where();
  if (target.find("laws")) util::print_note(fmt::format("{}: 'laws' is now called 'probs'", where.to_string()));
  setup.distributions =
      std::make_shared<workload::DistributionReplay>(util::resolve_path(options.distributions, where, folder), where);
  const results::DistributionHeader& header = setup.distributions->header();
  setup.tokenizer = recorded_tokenizer(options, target, folder, pool, header.tokenizer);
  if (setup.tokenizer && setup.tokenizer->vocab_size() > header.vocab)
    fail_at(where, "{}: a vocabulary of {} tokens, the recorded tokenizer has {}", setup.distributions->file(),
            header.vocab, setup.tokenizer->vocab_size());
  if (options.cost == "recorded") setup.clock = std::make_shared<workload::ReplayClock>(header, where);
  setup.target = replay::make_replay_target(header.vocab, {.recorded = header.sampling, .context = header.context});
  setup.stop_tokens = header.stop_tokens;
  return {header.vocab, "none"};
}

Vocabulary set_up_replay(const study::Cell& cell, const std::filesystem::path& folder, ModelPool& pool,
                         CellSetup& setup) {
  const ConfigValue& target = cell.model.target;
  if (recorded_probs(target)) return set_up_distribution_replay(cell, folder, pool, setup);
  ReplayDescription options;
  Parameters::read(target, "target 'replay'", options, {"type", "probs"});  // probs: had it been there

  const Location &tokenizer_at = target.find("tokenizer")->where(), &answers_at = target.find("answers")->where();
  setup.tokenizer = placed_at(
      tokenizer_at, [&] { return pool.tokenizer(util::resolve_path(options.tokenizer, tokenizer_at, folder)); });
  if (!setup.tokenizer) fail_at(tokenizer_at, "{}: holds no tokenizer", options.tokenizer);
  setup.recording = placed_at(
      answers_at, [&] { return workload::Recording::load(util::resolve_path(options.answers, answers_at, folder)); });
  const int vocab = options.vocab.value_or(setup.tokenizer->vocab_size());
  if (vocab < setup.tokenizer->vocab_size())
    fail_at(target.find("vocab")->where(), "vocab: {} is smaller than the tokenizer's {}", vocab,
            setup.tokenizer->vocab_size());
  setup.target = replay::make_replay_target(vocab);
  setup.stop_tokens = setup.tokenizer->eos();
  return {vocab, options.chat_template};
}

Vocabulary set_up_model(const study::Cell& cell, const std::filesystem::path& folder, ModelPool& pool,
                        CellSetup& setup) {
  setup.target_folder = pool.folder_of(cell.model.target, "target", folder);
  setup.model = pool.model(setup.target_folder, load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype));
  setup.tokenizer = pool.tokenizer(setup.target_folder);
  check_vocabulary(*setup.model, setup.tokenizer.get(), setup.target_folder);
  setup.target = decoding::make_model_target(setup.model);
  setup.stop_tokens = util::stop_tokens_of(*setup.model, setup.tokenizer.get());
  return {setup.model->config().vocab_size, std::nullopt};
}

BuildContext build_context(const study::Cell& cell, const std::filesystem::path& study_folder, CellSetup& setup,
                           int vocab, ModelPool& pool, const SetupOptions& options) {
  BuildContext context;
  context.vocab = vocab;
  context.batch_size = cell.run.batch_size;
  context.target = setup.model;
  context.tokenizer = setup.tokenizer;
  if (!setup.draft_folder.empty()) context.draft_model = setup.draft_folder.string();
  context.load_model =
      [&setup, &pool, clock = setup.clock,
       options = load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype)](const std::string& path) {
        if (clock) clock->drafts_with(path);
        setup.drafting_folder = path;
        return pool.model(path, options);
      };
  context.find_file = [study_folder](const std::string& path) {
    return util::resolve_path(path, {}, study_folder).string();
  };
  context.load_tokenizer = [&pool](const std::string& path) { return pool.tokenizer(path); };
  context.shared_ids = [&pool, target = setup.tokenizer](const std::string& path) {
    return pool.shared_ids(target.get(), path);
  };
  setup.costs = options.known;
  if (options.known)
    context.row_costs = [known = options.known] { return known; };
  else if (setup.model && options.costs == Costs::Measured)
    context.row_costs = [&setup, &pool,
                         options = load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype)] {
      return setup.costs = pool.row_costs(setup.target_folder, setup.drafting_folder, options);
    };
  if (setup.clock) context.row_costs = [&setup] { return setup.costs = setup.clock->costs(setup.draft_folder); };
  return context;
}

// What the cell's requests will be like, so that a drafter can refuse them before the first one.
Request sample_request(const study::Cell& cell) {
  Request request;
  request.prompt = {0};
  request.sampling = cell.sampling;
  if (model_type(cell.model.target) == "replay" || takes_answer(cell)) request.reference = {0};
  return request;
}

study::BuiltPipeline fitting_pipeline(const study::PipelineSection& section, const BuildContext& context,
                                      const study::Cell& cell, const Target& target) {
  study::BuiltPipeline pipeline = build_ruled_pipeline(section, context);
  if (const auto why = incompatibility(pipeline.target ? *pipeline.target : target, pipeline.view(), cell.sampling))
    fail("cell '{}': {}", cell.name, *why);
  pipeline.drafter->check(sample_request(cell));
  return pipeline;
}

std::vector<study::BuiltPipeline> fitting_pipelines(const study::PipelineSection& section, bool has_state,
                                                    const BuildContext& context, const study::Cell& cell,
                                                    const CellSetup& setup, Costs costs) {
  const int count =
      has_state && costs == Costs::Measured ? cell.run.repeats + (setup.timed() && cell.run.warmup > 0) : 1;
  std::vector<study::BuiltPipeline> pipelines;
  pipelines.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) pipelines.push_back(fitting_pipeline(section, context, cell, *setup.target));
  return pipelines;
}

// What prompts are written in. A model's own template matters, and is looked for, where there is a text to write.
chat::ChatTemplate template_of(const CellSetup& setup, const Vocabulary& vocabulary, ModelPool& pool) {
  const auto& chosen = setup.workload.chat_template ? setup.workload.chat_template : vocabulary.chat_template;
  const auto has_text = [](const workload::Conversation& c) {
    return std::ranges::any_of(c.turns, [](const workload::Turn& turn) { return turn.ids.empty(); });
  };
  const bool own = !chosen && setup.tokenizer && std::ranges::any_of(setup.workload.conversations, has_text);
  return own ? pool.own_template(setup.target_folder) : chat::ChatTemplate::get(chosen.value_or("none"));
}

// Keeps the conversations whose first prompts have the lengths that the workload asks for, and cuts these.
void fit_prompts(const ConfigValue& description, CellSetup& setup) {
  workload::Workload& workload = setup.workload;
  if (!workload.selects_by_length()) return;
  if (workload.prompt_tokens && setup.chat_template != "none")
    fail_at(
        description.find("prompt_tokens")->where(),
        "prompt_tokens: a prompt in a chat template ({}) cannot be cut; use max_prompt_tokens, or chat_template: none",
        setup.chat_template);
  const int least = std::max(workload.min_prompt_tokens.value_or(1), workload.prompt_tokens.value_or(1));
  const int most = workload.max_prompt_tokens.value_or(std::numeric_limits<int>::max());
  std::erase_if(workload.conversations, [&](workload::Conversation& conversation) {
    Tokens prompt = setup.dialogue.prompt(conversation, 0, {});
    const int length = static_cast<int>(prompt.size());
    if (length < least || (length > most && !workload.prompt_tokens)) return true;
    if (workload.prompt_tokens) {
      prompt.resize(static_cast<std::size_t>(*workload.prompt_tokens));
      conversation.turns.resize(1);
      conversation.turns.front() = {.ids = std::move(prompt)};
    }
    return false;
  });
  if (workload.limit > 0 && static_cast<int>(workload.conversations.size()) > workload.limit)
    workload.conversations.resize(workload.limit);
  if (workload.conversations.empty())
    fail_at(description.where(), "the workload has no prompt of the length that is asked for");
}

// A first prompt must fit into the context; those of later turns depend on answers. A recorded target needs an answer
// to every turn.
void check_prompts(const CellSetup& setup) {
  for (const workload::Conversation& conversation : setup.workload.conversations) {
    for (int turn = 0; setup.recording && turn < static_cast<int>(conversation.turns.size()); ++turn)
      setup.recording->answer(conversation, turn);
    if (!setup.model) continue;
    if (conversation.turns.front().ids.empty() && !setup.tokenizer)
      fail("{}: has no tokenizer, so the workload must be of type random_ids", setup.target_folder.string());
    const std::size_t length = setup.dialogue.prompt(conversation, 0, {}).size();
    if (static_cast<int>(length) > setup.model->config().context)
      fail("prompt {}: {} tokens are longer than the model's context of {}", conversation.id, length,
           setup.model->config().context);
  }
}

void set_up_workload(const study::Cell& cell, const std::filesystem::path& study_folder, const Vocabulary& vocabulary,
                     ModelPool& pool, CellSetup& setup) {
  setup.workload = setup.distributions ? setup.distributions->workload(cell.workload)
                                       : workload::load_workload(cell.workload, study_folder, vocabulary.size);
  if (setup.workload.ignore_eos) setup.stop_tokens.clear();
  const chat::ChatTemplate chat = template_of(setup, vocabulary, pool);
  setup.chat_template = chat.name();
  setup.dialogue = workload::Dialogue(setup.tokenizer, chat);
  if (setup.tokenizer) util::add_template_stops(*setup.tokenizer, chat, setup.workload.ignore_eos, setup.stop_tokens);
  fit_prompts(cell.workload, setup);
  check_prompts(setup);
}

void set_up_pipelines(const study::Cell& cell, const BuildContext& context, Costs costs, CellSetup& setup) {
  setup.method_has_state = study::has_state(cell.pipeline);
  setup.method = fitting_pipelines(cell.pipeline, setup.method_has_state, context, cell, setup, costs);
  if (cell.baseline && setup.timed()) {
    setup.baseline_has_state = study::has_state(*cell.baseline);
    setup.baseline = fitting_pipelines(*cell.baseline, setup.baseline_has_state, context, cell, setup, costs);
  }
  setup.baseline_is_plain = cell.baseline && drafts_nothing(*cell.baseline);
  if (cell.measures_quality && setup.model) setup.greedy = study::build_pipeline({}, context);
}

}  // namespace

results::InflatedModels CellSetup::inflated() const {
  results::InflatedModels out;
  if (model) out.target = model->config().inflated_from;
  if (!draft_folder.empty()) out.draft = formats::load_model_config(draft_folder).inflated_from;
  return out;
}

CellSetup set_up_cell(const study::Cell& cell, const std::filesystem::path& study_folder, ModelPool& pool,
                      const SetupOptions& options) {
  const util::InputFiles inputs;
  CellSetup setup;
  const auto place = [&](std::string_view path) {
    const ConfigValue* value = cell.document.find_path(path);
    return value ? value->blamed() : cell.document.place_of(path);
  };
  if (cell.run.threads)
    check_threads(*cell.run.threads, cell.run.oversubscribe, place("run.threads"),
                  "`oversubscribe: true` beside it, or --oversubscribe,");
  placed_at(place("model.dtype"), [&] { load_options(cell.model.dtype, "cpu"); });
  placed_at(place("model.kv_dtype"), [&] { load_options({}, "cpu", cell.model.kv_dtype); });
  placed_at(place("model.device"), [&] { load_options({}, cell.model.device); });
  const Vocabulary vocabulary = placed_at(place("model.target"), [&] {
    const bool replay = model_type(cell.model.target) == "replay";
    return replay ? set_up_replay(cell, study_folder, pool, setup) : set_up_model(cell, study_folder, pool, setup);
  });
  if (!cell.model.draft.is_null())
    setup.draft_folder =
        placed_at(place("model.draft"), [&] { return pool.folder_of(cell.model.draft, "draft", study_folder); });
  // Refuses biases outside the vocabulary.
  placed_at(place("sampling.logit_bias"),
            [&] { [[maybe_unused]] const Sampler checked(cell.sampling, vocabulary.size); });
  placed_at(place("workload"), [&] { set_up_workload(cell, study_folder, vocabulary, pool, setup); });
  const BuildContext context = build_context(cell, study_folder, setup, vocabulary.size, pool, options);
  placed_at(place("pipeline"), [&] { set_up_pipelines(cell, context, options.costs, setup); });
  setup.inputs = inputs.hashes();
  return setup;
}

bool takes_answer(const study::Cell& cell) {
  return cell.baseline && cell.sampling.greedy() && !given_acceptance(cell.pipeline).empty();
}

study::Losslessness CellSetup::lossless(const study::Cell& cell) const {
  return study::losslessness(cell.pipeline, method.front().row_independent);
}

bool CellSetup::like_baseline(const study::Cell& cell) const {
  const bool baseline_is =
      !cell.baseline ||
      study::losslessness(*cell.baseline, baseline.empty() || baseline.front().row_independent).towards_target;
  return lossless(cell).towards_target && baseline_is && (!cell.baseline || same_rules(cell.pipeline, *cell.baseline));
}

CheckedCell check_cell(const study::Cell& cell, const std::filesystem::path& study_folder, ModelPool& pool) {
  const CellSetup setup = set_up_cell(cell, study_folder, pool, {.costs = Costs::Assumed});
  CheckedCell found;
  found.conversations = static_cast<int>(setup.workload.conversations.size());
  found.lossless = setup.lossless(cell);
  found.limits = setup.method.front().drafter->limits();
  if (setup.model) found.target = setup.model->config();
  if (!setup.drafting_folder.empty()) found.draft = formats::load_model_config(setup.drafting_folder);
  pool.forget_unused();
  return found;
}

std::vector<CheckedCell> check_cells(const study::Study& study, ModelPool& pool) {
  std::vector<CheckedCell> checked;
  for (const study::Cell& cell : study.cells) checked.push_back(check_cell(cell, study.file.parent_path(), pool));
  return checked;
}

}  // namespace foretell::cell
