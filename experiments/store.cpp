#include "experiments/store.h"

#include <map>
#include <nlohmann/json.hpp>

#include "experiments/record_json.h"
#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"
#include "framework/text/file_bytes.h"

namespace foretell {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRounds = "rounds.jsonl";
constexpr const char* kGenerations = "generations.jsonl";
constexpr const char* kQuality = "quality.jsonl";

std::string round_lines(const GenerationRecord& record) {
  std::string lines;
  for (int i = 0; i < static_cast<int>(record.rounds.size()); ++i) lines += to_line(round_json(record, i));
  return lines;
}

std::string generation_line(const GenerationRecord& record) { return to_line(generation_json(record)); }

// The whole file at once: what a kill has cut short goes, and what is kept was never half there.
void rewrite(const std::filesystem::path& file, std::span<const GenerationRecord> records, std::string (*lines)(const GenerationRecord&)) {
  AtomicFile out(file);
  for (const GenerationRecord& record : records) out.write(lines(record));
  out.commit();
}

Json json_of(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return nullptr;
  const Json parsed = Json::parse(read_file_bytes(file), nullptr, false);
  if (!parsed.is_object()) fail("{}: is not a file of a Foretell run; remove its folder to run the cell again", file.string());
  return parsed;
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)), out_(path_, std::ios::binary | std::ios::app) { check(); }

void AppendFile::append(const std::string& line) { out_ << line; }

void AppendFile::flush() {
  out_.flush();
  check();
}

void AppendFile::check() const {
  if (!out_)
    fail("{}: cannot be written (no right, or the disk is full); what was finished is kept, and the same command goes on from there",
         path_.string());
}

nlohmann::ordered_json Store::manifest() const { return json_of(folder_ / "manifest.json"); }

nlohmann::ordered_json Store::summary() const { return json_of(folder_ / "summary.json"); }

bool Store::finished() const {
  const Json written = summary();
  return written.is_object() && written.value("complete", false);
}

nlohmann::ordered_json Store::prediction() const { return json_of(folder_ / "prediction.json"); }

void Store::begin(const Cell& cell, const nlohmann::ordered_json& manifest, std::span<const GenerationRecord> kept) {
  make_folder(folder_);
  for (const char* stale : {"summary.json", "prediction.json", "answers.jsonl", "laws.bin", kQuality})
    std::filesystem::remove(folder_ / stale);
  write_file(folder_ / "config.resolved.yaml", cell.document.to_yaml());
  write_whole("manifest.json", manifest);
  rewrite(folder_ / kGenerations, kept, generation_line);
  rewrite(folder_ / kRounds, kept, round_lines);
  rounds_.emplace(folder_ / kRounds);
  generations_.emplace(folder_ / kGenerations);
}

void Store::append(std::span<const GenerationRecord> records) {
  FORETELL_CHECK(rounds_ && generations_, "{} was not begun", folder_.string());
  for (const GenerationRecord& record : records) rounds_->append(round_lines(record));
  rounds_->flush();  // first, so that a generation on disk always has its rounds
  for (const GenerationRecord& record : records) generations_->append(generation_line(record));
  generations_->flush();
}

void Store::write_answers(std::span<const AnswerRow> rows) {
  std::string lines;
  for (const AnswerRow& row : rows) lines += to_json_line(row);
  write_file(folder_ / "answers.jsonl", lines);
}

void Store::write_quality(std::span<const GenerationRecord> records) {
  std::string rows;
  for (const GenerationRecord& record : records)
    if (record.quality) rows += to_line(quality_json(record));
  write_file(folder_ / kQuality, rows);
}

void Store::write_summary(const nlohmann::ordered_json& summary) { write_whole("summary.json", summary); }

void Store::write_prediction(const nlohmann::ordered_json& prediction) { write_whole("prediction.json", prediction); }

void Store::write_whole(const char* name, const nlohmann::ordered_json& content) { write_file(folder_ / name, content.dump(2) + "\n"); }

std::vector<GenerationRecord> read_records(const std::filesystem::path& folder) {
  std::vector<GenerationRecord> records;
  if (!std::filesystem::exists(folder / kGenerations)) return records;
  std::map<GenerationKey, std::size_t> index;
  for_each_row(folder / kGenerations, [&](const Json& row) {
    index[key_of(row)] = records.size();
    records.push_back(generation_from(row));
  });
  for_each_row(folder / kRounds, [&](const Json& row) {
    const auto at = index.find(key_of(row));
    // A run that was killed between the two files has left rounds that the next one wrote again.
    if (at == index.end()) return;
    std::vector<RoundRecord>& rounds = records[at->second].rounds;
    if (row.at("round").get<std::size_t>() == rounds.size()) add_round(row, records[at->second]);
  });
  if (!std::filesystem::exists(folder / kQuality)) return records;
  for_each_row(folder / kQuality, [&](const Json& row) {
    const auto at = index.find(key_of(row));
    if (at != index.end()) records[at->second].quality = quality_from(row);
  });
  return records;
}

std::filesystem::path cell_folder(const std::filesystem::path& results, const Study& study, const Cell& cell) {
  return results / study.folder / cell.hash;
}

}  // namespace foretell
