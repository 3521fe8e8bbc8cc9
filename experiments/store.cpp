#include "experiments/store.h"

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "framework/base/error.h"
#include "framework/model/files/atomic_file.h"

namespace foretell {
namespace {

using Json = nlohmann::ordered_json;
using GenerationKey = std::tuple<std::string, int, int, std::string>;  // conversation, turn, repeat, pipeline

constexpr const char* kQuality = "quality.jsonl";

const char* name_of(Arm arm) { return arm == Arm::Method ? "method" : "baseline"; }

Json key_json(const GenerationRecord& record) {
  return {{"conversation", record.conversation}, {"turn", record.turn}, {"repeat", record.repeat}, {"pipeline", name_of(record.arm)}};
}

Json generation_json(const GenerationRecord& record) {
  Json row = key_json(record);
  row.update({{"category", record.category},
              {"task", record.task},
              {"prompt_tokens", record.prompt_tokens},
              {"finish", record.finish},
              {"prefill_ns", record.prefill_ns},
              {"wall_ns", record.wall_ns},
              {"tokens", record.tokens},
              {"text", record.text}});
  if (record.exact) row["exact"] = *record.exact;
  return row;
}

Json round_json(const GenerationRecord& record, int index) {
  const RoundRecord& round = record.rounds[index];
  Json row = key_json(record);
  row.update({{"round", index},
              {"drafted", round.drafted},
              {"scored", round.scored},
              {"depth", round.depth},
              {"accepted", round.accepted},
              {"emitted", round.emitted},
              {"next", round.kind == NextKind::Bonus ? "bonus" : "correction"},
              {"draft_ns", round.ns.draft},
              {"score_ns", round.ns.score},
              {"verify_ns", round.ns.verify},
              {"commit_ns", round.ns.commit}});
  return row;
}

Json quality_json(const GenerationRecord& record) {
  Json row = key_json(record);
  row.update({{"log_probability", record.quality->log_probability},
              {"greedy_rouge_l", record.quality->greedy_rouge_l},
              {"same_as_greedy", record.quality->same_as_greedy}});
  return row;
}

GenerationKey key_of(const Json& row) { return {row.at("conversation"), row.at("turn"), row.at("repeat"), row.at("pipeline")}; }

GenerationRecord generation_from(const Json& row) {
  GenerationRecord record;
  record.conversation = row.at("conversation");
  record.category = row.at("category");
  record.task = row.at("task");
  record.turn = row.at("turn");
  record.repeat = row.at("repeat");
  record.arm = row.at("pipeline") == "method" ? Arm::Method : Arm::Baseline;
  record.prompt_tokens = row.at("prompt_tokens");
  record.tokens = row.at("tokens").get<Tokens>();
  record.text = row.at("text");
  if (row.contains("exact")) record.exact = row.at("exact").get<bool>();
  record.finish = row.at("finish");
  record.prefill_ns = row.at("prefill_ns");
  record.wall_ns = row.at("wall_ns");
  return record;
}

RoundRecord round_from(const Json& row) {
  return {.drafted = row.at("drafted"),
          .scored = row.at("scored"),
          .depth = row.at("depth"),
          .accepted = row.at("accepted"),
          .emitted = row.at("emitted"),
          .kind = row.at("next") == "bonus" ? NextKind::Bonus : NextKind::Correction,
          .ns = {row.at("draft_ns"), row.at("score_ns"), row.at("verify_ns"), row.at("commit_ns")}};
}

AnswerQuality quality_from(const Json& row) {
  // JSON has no infinity: a text that the target rules out is written as null.
  const Json& log_probability = row.at("log_probability");
  return {.log_probability = log_probability.is_null() ? -std::numeric_limits<double>::infinity() : log_probability.get<double>(),
          .greedy_rouge_l = row.at("greedy_rouge_l"),
          .same_as_greedy = row.at("same_as_greedy")};
}

// f(row) for every complete line.
template <class F>
void for_each_row(const std::filesystem::path& file, F&& f) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail("{}: cannot be opened", file.string());
  int line = 0;
  for (std::string text; std::getline(in, text) && !in.eof();) {
    ++line;
    try {
      f(Json::parse(text));
    } catch (const nlohmann::json::exception&) {
      fail_at({file.string(), line}, "no row of a Foretell run");
    }
  }
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)), out_(path_, std::ios::binary | std::ios::trunc) { check(); }

void AppendFile::append(const nlohmann::ordered_json& row) {
  append_line(row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void AppendFile::append_line(const std::string& line) { out_ << line; }

void AppendFile::flush() {
  out_.flush();
  check();
}

void AppendFile::check() const {
  if (!out_) fail("{}: cannot be written (no right, or the disk is full)", path_.string());
}

Store::Store(std::filesystem::path folder, const Cell& cell, const nlohmann::ordered_json& manifest)
    : folder_((make_folder(folder), std::move(folder))), rounds_(folder_ / "rounds.jsonl"), generations_(folder_ / "generations.jsonl") {
  for (const char* stale : {"summary.json", "answers.jsonl", kQuality}) std::filesystem::remove(folder_ / stale);
  write_file(folder_ / "config.resolved.yaml", cell.document.to_yaml());
  write_file(folder_ / "manifest.json", manifest.dump(2) + "\n");
}

void Store::append(std::span<const GenerationRecord> records) {
  for (const GenerationRecord& record : records) {
    for (int i = 0; i < static_cast<int>(record.rounds.size()); ++i) rounds_.append(round_json(record, i));
  }
  rounds_.flush();  // first, so that a generation on disk always has its rounds
  for (const GenerationRecord& record : records) generations_.append(generation_json(record));
  generations_.flush();
}

void Store::append_answer(const AnswerRow& row) {
  if (!answers_) answers_.emplace(folder_ / "answers.jsonl");
  answers_->append_line(to_json_line(row));
  answers_->flush();
}

void Store::write_quality(std::span<const GenerationRecord> records) {
  std::string rows;
  for (const GenerationRecord& record : records)
    if (record.quality) rows += quality_json(record).dump() + "\n";
  write_file(folder_ / kQuality, rows);
}

void Store::write_summary(const nlohmann::ordered_json& summary) { write_whole("summary.json", summary); }

void Store::write_prediction(const nlohmann::ordered_json& prediction) { write_whole("prediction.json", prediction); }

void Store::write_whole(const char* name, const nlohmann::ordered_json& content) { write_file(folder_ / name, content.dump(2) + "\n"); }

std::vector<GenerationRecord> read_records(const std::filesystem::path& folder) {
  std::vector<GenerationRecord> records;
  std::map<GenerationKey, std::size_t> index;
  for_each_row(folder / "generations.jsonl", [&](const Json& row) {
    index[key_of(row)] = records.size();
    records.push_back(generation_from(row));
  });
  for_each_row(folder / "rounds.jsonl", [&](const Json& row) {
    const auto at = index.find(key_of(row));
    if (at != index.end()) records[at->second].rounds.push_back(round_from(row));
  });
  if (!std::filesystem::exists(folder / kQuality)) return records;
  for_each_row(folder / kQuality, [&](const Json& row) {
    const auto at = index.find(key_of(row));
    if (at != index.end()) records[at->second].quality = quality_from(row);
  });
  return records;
}

std::filesystem::path cell_folder(const std::filesystem::path& results, const Study& study, const Cell& cell) {
  return results / study.name / cell.hash;
}

}  // namespace foretell
