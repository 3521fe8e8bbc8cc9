#include "experiments/results/record_json.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/results/expert_json.h"
#include "framework/core/error.h"
#include "framework/core/input_file.h"
#include "framework/io/content_hash.h"

namespace foretell::results {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMostCounted = 1 << 30;
constexpr std::int64_t kMostSummed = std::int64_t{1} << 52;
constexpr std::int64_t kLongestTime = 1'000'000'000'000'000;  // [ns] eleven days

int count_at(const io::OrderedJsonView& row, std::string_view key) {
  return static_cast<int>(row.at(key).integer(0, kMostCounted));
}

// Null is what an imported row does not know; a key that is missing is an Error.
std::optional<io::OrderedJsonView> known(const io::OrderedJsonView& row, std::string_view key) {
  auto value = row.find(key);
  if (!value && !row.raw().contains(key)) row.at(key);
  return value;
}

int known_count(const io::OrderedJsonView& row, std::string_view key) {
  const auto value = known(row, key);
  return value ? static_cast<int>(value->integer(0, kMostCounted)) : 0;
}

std::int64_t known_time(const io::OrderedJsonView& row, std::string_view key) {
  const auto value = known(row, key);
  return value ? value->integer(-kLongestTime, kLongestTime) : 0;
}

Tokens tokens_of(const io::OrderedJsonView& list) {
  Tokens out;
  out.reserve(list.size());
  for (const Json& token : list.raw()) {
    if (!token.is_number_integer() || token.get<std::int64_t>() < 0 ||
        token.get<std::int64_t>() > std::numeric_limits<Token>::max())
      list.expected("a list of tokens");
    out.push_back(token.get<Token>());
  }
  return out;
}

const char* name_of(PipelineVariant arm) { return arm == PipelineVariant::Method ? "method" : "baseline"; }

Json key_json(const GenerationRecord& record) {
  return {{"conversation", record.conversation},
          {"turn", record.turn},
          {"repeat", record.repeat},
          {"pipeline", name_of(record.arm)}};
}

Json work_json(const StepWork& work) {
  return {{"layers", work.layers},         {"experts", work.experts},       {"attended", work.attended},
          {"left_early", work.left_early}, {"recomputed", work.recomputed}, {"probes", work.probes}};
}

StepWork work_from(const io::OrderedJsonView& row) {
  const auto sum = [&](std::string_view key) { return row.at(key).integer(0, kMostSummed); };
  return {.layers = sum("layers"),
          .experts = sum("experts"),
          .attended = sum("attended"),
          .left_early = count_at(row, "left_early"),
          .recomputed = count_at(row, "recomputed"),
          .probes = count_at(row, "probes")};
}

}  // namespace

GenerationKey key_of(const GenerationRecord& record) {
  return {record.conversation, record.turn, record.repeat, record.arm};
}

GenerationKey key_of(const io::OrderedJsonView& row) {
  const std::string& pipeline = row.at("pipeline").string();
  if (pipeline != "method" && pipeline != "baseline") row.at("pipeline").refuse("expected method or baseline");
  return {row.at("conversation").string(), count_at(row, "turn"), count_at(row, "repeat"),
          pipeline == "method" ? PipelineVariant::Method : PipelineVariant::Baseline};
}

std::string words_of(const GenerationKey& key) {
  const auto& [conversation, turn, repeat, arm] = key;
  return fmt::format("prompt '{}', turn {}, repeat {}, {}", conversation, turn, repeat, name_of(arm));
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
  if (record.contention) row["contention"] = *record.contention;
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
  if (round.work) row["work"] = work_json(*round.work);
  if (round.experts) row["experts"] = to_json(*round.experts);
  return row;
}

Json quality_json(const GenerationRecord& record) {
  Json row = key_json(record);
  row.update({{"log_probability", record.quality->log_probability},
              {"greedy_rouge_l", record.quality->greedy_rouge_l},
              {"same_as_greedy", record.quality->same_as_greedy}});
  return row;
}

GenerationRecord generation_from(const io::OrderedJsonView& row) {
  GenerationRecord record;
  std::tie(record.conversation, record.turn, record.repeat, record.arm) = key_of(row);
  record.category = row.at("category").string();
  record.task = row.at("task").string();
  record.prompt_tokens = known_count(row, "prompt_tokens");
  if (const auto tokens = known(row, "tokens")) record.tokens = tokens_of(*tokens);
  record.text = row.at("text").string();
  if (const auto exact = row.find("exact")) record.exact = exact->boolean();
  if (row.find("batch")) record.batch = count_at(row, "batch");
  if (const auto arrival = row.find("arrival_ns")) record.arrival_ns = arrival->integer(-kLongestTime, kLongestTime);
  if (const auto joules = row.find("joules")) record.joules = joules->number();
  if (const auto contention = row.find("contention")) record.contention = contention->number(0, 1);
  if (const auto finish = known(row, "finish")) record.finish = finish->string();
  record.prefill_ns = known_time(row, "prefill_ns");
  record.wall_ns = known_time(row, "wall_ns");
  return record;
}

void add_round(const io::OrderedJsonView& row, GenerationRecord& record) {
  const auto next = known(row, "next");
  if (next && next->string() != "bonus" && next->string() != "correction") next->refuse("expected bonus or correction");
  record.rounds.push_back({.drafted = known_count(row, "drafted"),
                           .scored = known_count(row, "scored"),
                           .depth = known_count(row, "depth"),
                           .accepted = known_count(row, "accepted"),
                           .emitted = count_at(row, "emitted"),
                           .kind = !next || next->string() == "bonus" ? NextKind::Bonus : NextKind::Correction,
                           .ns = {known_time(row, "draft_ns"), known_time(row, "score_ns"),
                                  known_time(row, "verify_ns"), known_time(row, "commit_ns")}});
  if (const auto work = row.find("work")) record.rounds.back().work = work_from(*work);
  if (const auto experts = row.find("experts")) record.rounds.back().experts = expert_use_from(*experts);
  if (const auto end = row.find("end_ns")) record.round_ends.push_back(end->integer(-kLongestTime, kLongestTime));
}

AnswerQuality quality_from(const io::OrderedJsonView& row) {
  // JSON has no infinity: a text that the target rules out is written as null.
  const auto log_probability = known(row, "log_probability");
  return {.log_probability = log_probability ? log_probability->number() : -std::numeric_limits<double>::infinity(),
          .greedy_rouge_l = row.at("greedy_rouge_l").number(),
          .same_as_greedy = row.at("same_as_greedy").boolean()};
}

std::string round_lines(const GenerationRecord& record) {
  std::string lines;
  for (int i = 0; i < static_cast<int>(record.rounds.size()); ++i) lines += to_line(round_json(record, i));
  return lines;
}

std::string checksum_of(Json row, std::string_view round_lines) {
  row.erase("checksum");
  io::Checksum sum;
  sum.add(to_line(row));
  sum.add(round_lines);
  return sum.text();
}

std::string sealed_line(Json row, std::string_view cell, std::size_t rounds, std::string_view round_lines) {
  row["cell"] = cell;
  row["rounds"] = rounds;
  row["checksum"] = checksum_of(row, round_lines);
  return to_line(row);
}

bool for_each_row(std::istream& in, const std::string& name, const RowReader& f, const RowError& on_error) {
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) return false;
    const Location where{name, ++number};
    try {
      const Json row = io::parse_ordered_json(line, where);
      f(io::OrderedJsonView(row, "", where), line);
    } catch (const Error& error) {
      if (!on_error) throw;
      on_error(error);
    }
  }
  return true;
}

bool for_each_row(const std::filesystem::path& file, const RowReader& f, const RowError& on_error) {
  std::ifstream in = open_input(file);
  return for_each_row(in, file.string(), f, on_error);
}

std::string to_line(const Json& row) {
  return row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace foretell::results
