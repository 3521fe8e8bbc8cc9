#include "experiments/record_json.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"

namespace foretell {
namespace {

using Json = nlohmann::ordered_json;

const char* name_of(Arm arm) { return arm == Arm::Method ? "method" : "baseline"; }

Json key_json(const GenerationRecord& record) {
  return {{"conversation", record.conversation}, {"turn", record.turn}, {"repeat", record.repeat}, {"pipeline", name_of(record.arm)}};
}

}  // namespace

GenerationKey key_of(const GenerationRecord& record) { return {record.conversation, record.turn, record.repeat, record.arm}; }

GenerationKey key_of(const Json& row) {
  return {row.at("conversation"), row.at("turn"), row.at("repeat"), row.at("pipeline") == "method" ? Arm::Method : Arm::Baseline};
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
  if (record.batch) row["batch"] = *record.batch;
  if (record.arrival_ns != 0) row["arrival_ns"] = record.arrival_ns;
  if (record.joules) row["joules"] = *record.joules;
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
  if (index < static_cast<int>(record.round_ends.size())) row["end_ns"] = record.round_ends[index];
  return row;
}

Json quality_json(const GenerationRecord& record) {
  Json row = key_json(record);
  row.update({{"log_probability", record.quality->log_probability},
              {"greedy_rouge_l", record.quality->greedy_rouge_l},
              {"same_as_greedy", record.quality->same_as_greedy}});
  return row;
}

GenerationRecord generation_from(const Json& row) {
  GenerationRecord record;
  std::tie(record.conversation, record.turn, record.repeat, record.arm) = key_of(row);
  record.category = row.at("category");
  record.task = row.at("task");
  record.prompt_tokens = row.at("prompt_tokens");
  record.tokens = row.at("tokens").get<Tokens>();
  record.text = row.at("text");
  if (row.contains("exact")) record.exact = row.at("exact").get<bool>();
  if (row.contains("batch")) record.batch = row.at("batch").get<int>();
  record.arrival_ns = row.value("arrival_ns", std::int64_t{0});
  if (row.contains("joules")) record.joules = row.at("joules").get<double>();
  record.finish = row.at("finish");
  record.prefill_ns = row.at("prefill_ns");
  record.wall_ns = row.at("wall_ns");
  return record;
}

void add_round(const Json& row, GenerationRecord& record) {
  record.rounds.push_back({.drafted = row.at("drafted"),
                           .scored = row.at("scored"),
                           .depth = row.at("depth"),
                           .accepted = row.at("accepted"),
                           .emitted = row.at("emitted"),
                           .kind = row.at("next") == "bonus" ? NextKind::Bonus : NextKind::Correction,
                           .ns = {row.at("draft_ns"), row.at("score_ns"), row.at("verify_ns"), row.at("commit_ns")}});
  if (row.contains("end_ns")) record.round_ends.push_back(row.at("end_ns"));
}

AnswerQuality quality_from(const Json& row) {
  // JSON has no infinity: a text that the target rules out is written as null.
  const Json& log_probability = row.at("log_probability");
  return {.log_probability = log_probability.is_null() ? -std::numeric_limits<double>::infinity() : log_probability.get<double>(),
          .greedy_rouge_l = row.at("greedy_rouge_l"),
          .same_as_greedy = row.at("same_as_greedy")};
}

bool for_each_row(const std::filesystem::path& file, const std::function<void(const Json&)>& f) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail("{}: cannot be opened", file.string());
  int line = 0;
  for (std::string text; std::getline(in, text);) {
    if (in.eof()) return false;
    ++line;
    try {
      f(Json::parse(text));
    } catch (const nlohmann::json::exception&) {
      fail_at({file.string(), line}, "no row of a Foretell run");
    }
  }
  return true;
}

std::string to_line(const Json& row) { return row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"; }

}  // namespace foretell
