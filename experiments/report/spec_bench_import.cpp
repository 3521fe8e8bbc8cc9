#include "experiments/report/spec_bench_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "experiments/results/record_json.h"
#include "experiments/results/record_reader.h"
#include "experiments/results/result_files.h"
#include "experiments/results/summary.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/datasets/prompts.h"
#include "framework/io/atomic_file.h"
#include "framework/io/content_hash.h"
#include "framework/io/file_bytes.h"

namespace foretell::report {
namespace {

using ImportJson = nlohmann::ordered_json;

constexpr int kLongestAnswer = 1 << 20;        // [tokens]
constexpr std::int64_t kMostTokens = 1 << 24;  // of a file: Spec-Bench has half a million
constexpr double kLongestTime = 1e6;           // [s]

int checked(const std::string& file, const datasets::AnswerRow& row, const char* what, int value) {
  if (value < 0 || value > kLongestAnswer)
    fail("{}: question {}: {} is {}; expected 0 to {}", file, row.question_id, what, value, kLongestAnswer);
  return value;
}

// Spans of the rounds, one a turn; one for all turns if the rows do not say where one ends.
std::vector<int> rounds_of_turns(const datasets::AnswerRow& row) {
  const auto all = static_cast<std::int64_t>(row.accept_lengths.size());
  const std::int64_t steps = std::accumulate(row.decoding_steps.begin(), row.decoding_steps.end(), std::int64_t{0});
  const bool whole =
      row.decoding_steps.size() == row.turns.size() && row.new_tokens.size() == row.turns.size() && steps == all;
  return whole ? row.decoding_steps : std::vector<int>{static_cast<int>(all)};
}

template <class T>
T at_turn(const std::vector<T>& values, std::size_t turn, std::size_t turns) {
  if (turns == 1) return std::accumulate(values.begin(), values.end(), T{});
  return turn < values.size() ? values[turn] : T{};
}

void add_answer(const std::string& file, const datasets::AnswerRow& row, const std::string& category,
                results::PipelineVariant arm, std::vector<results::GenerationRecord>& records) {
  for (const int steps : row.decoding_steps) checked(file, row, "decoding_steps", steps);
  for (const double seconds : row.wall_time)
    if (!std::isfinite(seconds) || seconds < 0 || seconds > kLongestTime)
      fail("{}: question {}: wall_time is {}; expected 0 to {} seconds", file, row.question_id, seconds, kLongestTime);
  const std::vector<int> turns = rounds_of_turns(row);
  std::size_t round = 0;
  for (std::size_t turn = 0; turn < turns.size(); ++turn) {
    results::GenerationRecord record{.conversation = row.question_id,
                                     .category = category,
                                     .task = datasets::spec_bench_task(category),
                                     .turn = static_cast<int>(turn)};
    record.arm = arm;
    if (turns.size() == 1)
      for (const std::string& text : row.turns) record.text += (record.text.empty() ? "" : "\n") + text;
    else
      record.text = row.turns[turn];
    // Their ids are unknown; what is folded counts them.
    record.tokens.resize(at_turn(row.new_tokens, turn, turns.size()));
    record.wall_ns = std::llround(1e9 * at_turn(row.wall_time, turn, turns.size()));
    for (int i = 0; i < turns[turn]; ++i, ++round)
      record.rounds.push_back({.emitted = checked(file, row, "an accept length", row.accept_lengths[round])});
    records.push_back(std::move(record));
  }
}

// The numbers that rows of this format support; everything else of a task is null, even where a fold of half-empty
// records gives one.
ImportJson known_numbers(const results::Summary& summary, bool timed) {
  static const std::vector<std::string> known = {"mean_acceptance_length", "mean_acceptance_length_per_request",
                                                 "tokens", "rounds", "requests"};
  static const std::vector<std::string> known_if_timed = {"tokens_per_second",   "speedup",
                                                          "speedup_interval",    "speedup_confidence",
                                                          "speedup_samples",     "speedup_units",
                                                          "speedup_no_interval", "verdict",
                                                          "verdict_words",       "baseline_tokens_per_second"};
  ImportJson out = to_json(summary, {});
  const auto among = [](const std::vector<std::string>& keys, const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (auto& task : out)
    for (auto& [key, value] : task.items())
      if (!among(known, key) && !(timed && among(known_if_timed, key))) value = nullptr;
  return out;
}

void write_rows(const std::filesystem::path& folder, const std::string& cell,
                const std::vector<results::GenerationRecord>& records) {
  io::AtomicFile generations(folder / "generations.jsonl"), rounds(folder / "rounds.jsonl");
  for (const results::GenerationRecord& record : records) {
    ImportJson row = results::generation_json(record);
    row["tokens"] = nullptr;
    row["new_tokens"] = record.tokens.size();
    for (const char* unknown : {"prompt_tokens", "finish", "prefill_ns"}) row[unknown] = nullptr;
    if (record.wall_ns == 0) row["wall_ns"] = nullptr;
    std::string lines;
    for (int i = 0; i < static_cast<int>(record.rounds.size()); ++i) {
      ImportJson round = results::round_json(record, i);
      for (const char* unknown :
           {"drafted", "scored", "depth", "accepted", "next", "draft_ns", "score_ns", "verify_ns", "commit_ns"})
        round[unknown] = nullptr;
      lines += results::to_line(round);
    }
    rounds.write(lines);
    generations.write(results::sealed_line(row, cell, record.rounds.size(), lines));
  }
  rounds.commit();
  generations.commit();
}

// A file's name need not be UTF-8.
void write_json(const std::filesystem::path& file, const ImportJson& json) {
  io::write_file(file, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace

std::vector<results::GenerationRecord> spec_bench_records(const std::vector<datasets::AnswerRow>& rows,
                                                          const std::string& file,
                                                          const std::vector<datasets::Prompt>* questions,
                                                          results::PipelineVariant arm) {
  std::map<std::string, std::string> categories;
  if (questions)
    for (const datasets::Prompt& prompt : *questions) categories[prompt.id] = prompt.category;
  std::vector<results::GenerationRecord> records;
  std::int64_t tokens = 0;
  std::set<std::string> known_ids;
  for (const datasets::AnswerRow& row : rows) {
    if (!known_ids.insert(row.question_id).second) fail("{}: question {} is answered twice", file, row.question_id);
    for (const int of_turn : row.new_tokens) tokens += checked(file, row, "new_tokens", of_turn);
    if (tokens > kMostTokens) fail("{}: holds more than {} tokens", file, kMostTokens);
    const auto known = categories.find(row.question_id);
    if (questions && known == categories.end()) fail("{}: question {} is not in the questions", file, row.question_id);
    add_answer(file, row, known == categories.end() || known->second.empty() ? row.category : known->second, arm,
               records);
  }
  return records;
}

std::string import_spec_bench(const SpecBenchImport& options) {
  if (std::filesystem::exists(options.out / "study.json")) fail("{}: holds a study already", options.out.string());
  const std::vector<datasets::AnswerRow> rows = datasets::read_answers(options.answers);
  const auto questions = options.questions ? std::optional(datasets::read_prompts(*options.questions)) : std::nullopt;
  const auto records_of = [&](const std::vector<datasets::AnswerRow>& from, const std::filesystem::path& file,
                              results::PipelineVariant arm) {
    return spec_bench_records(from, file.string(), questions ? &*questions : nullptr, arm);
  };
  std::vector<results::GenerationRecord> records = records_of(rows, options.answers, results::PipelineVariant::Method);
  bool timed = false;
  for (const results::GenerationRecord& record : records) timed |= record.wall_ns > 0;
  if (options.baseline) {
    auto baseline =
        records_of(datasets::read_answers(*options.baseline), *options.baseline, results::PipelineVariant::Baseline);
    std::move(baseline.begin(), baseline.end(), std::back_inserter(records));
  }
  std::string name = rows.front().model_id.empty() ? options.answers.stem().string() : rows.front().model_id;
  const std::string hash = io::content_hash(io::read_file_bytes(options.answers));
  const std::filesystem::path folder = options.out / hash;
  results::refuse_link_out(folder, options.out);
  io::make_folder(folder);
  write_rows(folder, hash, records);
  write_json(folder / "manifest.json", {{"format", results::kResultsFormat},
                                        {"study", name},
                                        {"cell", name},
                                        {"cell_hash", hash},
                                        {"imported_from", options.answers.filename().string()}});
  const auto settings = ImportJson::object();
  // How it was folded is not said: rows of this format do not give all that the answers did.
  ImportJson summary = {
      {"study", name},        {"cell", name},
      {"complete", true},     {"timed", timed},
      {"settings", settings}, {"tasks", known_numbers(results::fold(records, {.timed = timed}), timed)}};
  results::seal_summary(summary, results::read_records(folder), folder);
  write_json(folder / "summary.json", summary);
  auto cells = ImportJson::array();
  cells.push_back({{"name", name}, {"hash", hash}, {"group", hash}, {"is_baseline", false}, {"settings", settings}});
  write_json(options.out / "study.json",
             {{"study", name}, {"description", "imported answer rows"}, {"file", ""}, {"cells", cells}});
  return name;
}

}  // namespace foretell::report
