#include "experiments/runner/record_distributions.h"

#include <algorithm>

#include "experiments/cell/run_prompts.h"
#include "experiments/util/console.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/text_reader.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/content_hash.h"

namespace foretell::runner {
namespace {

constexpr int kMostRecorded = 1 << 16;

bool is_recorded(const results::GenerationRecord& record) {
  return record.arm == results::PipelineVariant::Method && record.repeat == 0;
}

// Conversation by conversation, turns in order: a batch runs the first turns of all before the second of any.
std::vector<const results::GenerationRecord*> in_order(std::span<const results::GenerationRecord> records,
                                                       const workload::Workload& workload) {
  std::map<std::string, std::size_t> place;
  for (const workload::Conversation& conversation : workload.conversations)
    if (!place.emplace(conversation.id, place.size()).second)
      fail("--record probs: two conversations have the id '{}'; a replay could not tell them apart", conversation.id);
  std::vector<const results::GenerationRecord*> out;
  for (const results::GenerationRecord& record : records)
    if (is_recorded(record)) out.push_back(&record);
  std::stable_sort(out.begin(), out.end(), [&](const results::GenerationRecord* a, const results::GenerationRecord* b) {
    return std::pair(place.at(a->conversation), a->turn) < std::pair(place.at(b->conversation), b->turn);
  });
  return out;
}

results::RecordedSource model_source(const std::filesystem::path& folder) {
  if (folder.empty()) return {};
  return {folder.string(), io::folder_hash(folder)};
}

results::DistributionHeader header_of(const DistributionRecording& options, const study::Cell& cell,
                                      const cell::CellSetup& setup, std::size_t answers) {
  const formats::ModelConfig& config = setup.model->config();
  results::DistributionHeader header;
  header.vocab = config.vocab_size;
  header.top_k = std::min(options.top_k, config.vocab_size);
  header.context = config.context;
  header.max_new_tokens = setup.workload.max_new_tokens;
  header.answers = static_cast<int>(answers);
  header.stop_tokens = setup.stop_tokens;
  header.sampling = cell.sampling;
  header.cell = cell.name;
  header.verifier = Registry<Verifier>::instance().type_of(cell.pipeline.verifier);
  if (setup.tokenizer) header.tokenizer = results::tokenizer_source(setup.target_folder);
  header.target = model_source(setup.target_folder);
  header.draft = model_source(setup.draft_folder);
  header.costs = setup.costs;
  return header;
}

results::AnswerDistributions distributions_of(const model::LanguageModel& model,
                                              const results::GenerationRecord& record, const Tokens& prompt,
                                              int top_k) {
  results::AnswerDistributions out{record.conversation, record.category, record.task, record.turn,
                                   record.finish,       prompt,          {}};
  Tokens text = prompt;
  text.insert(text.end(), record.tokens.begin(), record.tokens.end());
  auto distributions = std::make_shared<replay::RecordedDistributions>(model.config().vocab_size);
  // Behind the last token nothing was emitted, and a context may have no room for it.
  util::TextReader reader(model, TokenSpan(text).first(text.size() - 1));
  for (std::size_t i = 0; i < record.tokens.size(); ++i)
    distributions->add(reader.row(prompt.size() + i - 1), record.tokens[i], top_k);
  out.distributions = std::move(distributions);
  return out;
}

}  // namespace

std::optional<DistributionRecording> distribution_recording(const std::optional<std::string>& what,
                                                            const std::optional<int>& top_k) {
  if (!what) {
    if (top_k) fail("--record-top-k: needs --record probs");
    return std::nullopt;
  }
  if (*what == "laws")
    util::print_error("note: --record laws is now called --record probs\n");
  else if (*what != "probs")
    fail("--record: '{}' cannot be recorded; expected probs", *what);
  DistributionRecording out;
  if (top_k) out.top_k = *top_k;
  if (out.top_k < 1 || out.top_k > kMostRecorded)
    fail("--record-top-k: expected 1 to {}, found {}", kMostRecorded, out.top_k);
  return out;
}

void check_recordable(const study::Study& study) {
  for (const study::Cell& cell : study.cells) {
    if (cell::model_type(cell.model.target) == "replay")
      fail("--record probs: cell '{}' replays a recording; distributions are those of a model", cell.name);
    if (study::is_lossy(cell.pipeline))
      fail("--record probs: cell '{}' has the lossy verifier '{}'; its answers do not have the target's distribution",
           cell.name, Registry<Verifier>::instance().type_of(cell.pipeline.verifier));
    if (study::has_rules(cell.pipeline))
      fail_at(
          cell.pipeline.target.where(),
          "--record probs: cell '{}' scores under rules of its own; what is recorded is the checkpoint's distribution",
          cell.name);
    const SamplingOptions& s = cell.sampling;
    if (s.repetition_penalty != 1.0 || s.presence_penalty != 0.0 || !s.logit_bias.empty())
      fail("--record probs: cell '{}' has penalties or a logit bias, which cannot be replayed", cell.name);
  }
}

void measure_costs(const study::Cell& cell, cell::CellSetup& setup, cell::ModelPool& pool) {
  if (!setup.costs)
    setup.costs = pool.row_costs(setup.target_folder, setup.draft_folder,
                                 cell::load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype));
}

std::string record_distributions(const DistributionRecording& options, const study::Cell& cell,
                                 const cell::CellSetup& setup, std::span<const results::GenerationRecord> records,
                                 const std::filesystem::path& folder, const std::function<void()>& on_answer) {
  const auto recorded = in_order(records, setup.workload);
  const cell::RunPrompts prompts(setup, records);
  const results::DistributionHeader header = header_of(options, cell, setup, recorded.size());
  results::DistributionWriter writer(folder / results::kDistributionsFile, header);
  results::DistributionRecord::Rest rest;
  for (const results::GenerationRecord* record : recorded) {
    if (util::interrupted()) return "";
    const results::AnswerDistributions answer =
        distributions_of(*setup.model, *record, prompts.of(*record), header.top_k);
    for (int i = 0; i < answer.distributions->size(); ++i) rest.add((*answer.distributions)[i].rest);
    writer.add(answer);
    if (on_answer) on_answer();
  }
  writer.finish();
  return fmt::format("{}: distributions of {}, {} of each; {}.", (folder / results::kDistributionsFile).string(),
                     counted(rest.tokens, "token"), counted(header.top_k, "token"), rest.words());
}

int answers_to_record(std::span<const results::GenerationRecord> records) {
  return static_cast<int>(std::count_if(records.begin(), records.end(), is_recorded));
}

}  // namespace foretell::runner
