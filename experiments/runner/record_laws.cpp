#include "experiments/runner/record_laws.h"

#include <algorithm>

#include "framework/io/content_hash.h"
#include "experiments/util/interrupt.h"
#include "experiments/cell/run_prompts.h"
#include "experiments/util/text_reader.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell {
namespace {

constexpr int kMostRecorded = 1 << 16;

bool is_recorded(const GenerationRecord& record) { return record.arm == Arm::Method && record.repeat == 0; }

// Conversation by conversation, turns in order: a batch runs the first turns of all before the second of any.
std::vector<const GenerationRecord*> in_order(std::span<const GenerationRecord> records, const Workload& workload) {
  std::map<std::string, std::size_t> place;
  for (const Conversation& conversation : workload.conversations)
    if (!place.emplace(conversation.id, place.size()).second)
      fail("--record laws: two conversations have the id '{}'; a replay could not tell them apart", conversation.id);
  std::vector<const GenerationRecord*> out;
  for (const GenerationRecord& record : records)
    if (is_recorded(record)) out.push_back(&record);
  std::stable_sort(out.begin(), out.end(), [&](const GenerationRecord* a, const GenerationRecord* b) {
    return std::pair(place.at(a->conversation), a->turn) < std::pair(place.at(b->conversation), b->turn);
  });
  return out;
}

RecordedSource model_source(const std::filesystem::path& folder) {
  if (folder.empty()) return {};
  return {folder.string(), folder_hash(folder)};
}

LawHeader header_of(const LawRecording& options, const Cell& cell, const CellSetup& setup, std::size_t answers) {
  const ModelConfig& config = setup.model->config();
  LawHeader header;
  header.vocab = config.vocab_size;
  header.top_k = std::min(options.top_k, config.vocab_size);
  header.context = config.context;
  header.max_new_tokens = setup.workload.max_new_tokens;
  header.answers = static_cast<int>(answers);
  header.stop_tokens = setup.stop_tokens;
  header.sampling = cell.sampling;
  header.cell = cell.name;
  header.verifier = Registry<Verifier>::instance().type_of(cell.pipeline.verifier);
  if (setup.tokenizer) header.tokenizer = tokenizer_source(setup.target_folder);
  header.target = model_source(setup.target_folder);
  header.draft = model_source(setup.draft_folder);
  header.costs = setup.costs;
  return header;
}

AnswerLaws laws_of(const LanguageModel& model, const GenerationRecord& record, const Tokens& prompt, int top_k) {
  AnswerLaws out{record.conversation, record.category, record.task, record.turn, record.finish, prompt, {}};
  Tokens text = prompt;
  text.insert(text.end(), record.tokens.begin(), record.tokens.end());
  auto laws = std::make_shared<RecordedLaws>(model.config().vocab_size);
  // Behind the last token nothing was emitted, and a context may have no room for it.
  TextReader reader(model, TokenSpan(text).first(text.size() - 1));
  for (std::size_t i = 0; i < record.tokens.size(); ++i) laws->add(reader.row(prompt.size() + i - 1), record.tokens[i], top_k);
  out.laws = std::move(laws);
  return out;
}

}  // namespace

std::optional<LawRecording> law_recording(const std::optional<std::string>& what, const std::optional<int>& top_k) {
  if (!what) {
    if (top_k) fail("--record-top-k: needs --record laws");
    return std::nullopt;
  }
  if (*what != "laws") fail("--record: '{}' cannot be recorded; expected laws", *what);
  LawRecording out;
  if (top_k) out.top_k = *top_k;
  if (out.top_k < 1 || out.top_k > kMostRecorded) fail("--record-top-k: expected 1 to {}, found {}", kMostRecorded, out.top_k);
  return out;
}

void check_recordable(const Study& study) {
  for (const Cell& cell : study.cells) {
    if (model_type(cell.model.target) == "replay")
      fail("--record laws: cell '{}' replays a recording; laws are those of a model", cell.name);
    if (is_lossy(cell.pipeline))
      fail("--record laws: cell '{}' has the lossy verifier '{}'; its answers do not have the target's law", cell.name,
           Registry<Verifier>::instance().type_of(cell.pipeline.verifier));
    const SamplingOptions& s = cell.sampling;
    if (s.repetition_penalty != 1.0 || s.presence_penalty != 0.0 || !s.logit_bias.empty())
      fail("--record laws: cell '{}' has penalties or a logit bias, which cannot be replayed", cell.name);
  }
}

void measure_costs(const Cell& cell, CellSetup& setup, ModelPool& pool) {
  if (!setup.costs)
    setup.costs = pool.row_costs(setup.target_folder, setup.draft_folder, load_options(cell.model.dtype, cell.model.device));
}

std::string record_laws(const LawRecording& options, const Cell& cell, const CellSetup& setup, std::span<const GenerationRecord> records,
                        const std::filesystem::path& folder, const std::function<void()>& on_answer) {
  const auto recorded = in_order(records, setup.workload);
  const RunPrompts prompts(setup, records);
  const LawHeader header = header_of(options, cell, setup, recorded.size());
  LawWriter writer(folder / kLawsFile, header);
  LawRecord::Rest rest;
  for (const GenerationRecord* record : recorded) {
    if (interrupted()) return "";
    const AnswerLaws answer = laws_of(*setup.model, *record, prompts.of(*record), header.top_k);
    for (int i = 0; i < answer.laws->size(); ++i) rest.add((*answer.laws)[i].rest);
    writer.add(answer);
    if (on_answer) on_answer();
  }
  writer.finish();
  return fmt::format("{}: laws of {}, {} of each; {}.", (folder / kLawsFile).string(), counted(rest.tokens, "token"),
                     counted(header.top_k, "token"), rest.words());
}

int answers_to_record(std::span<const GenerationRecord> records) {
  return static_cast<int>(std::count_if(records.begin(), records.end(), is_recorded));
}

}  // namespace foretell
