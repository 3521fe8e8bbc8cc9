#include "experiments/results/answer_rows.h"

#include <chrono>
#include <map>

#include "framework/io/content_hash.h"

namespace foretell::results {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void add_turn(const GenerationRecord& record, datasets::AnswerRow& row) {
  row.turns.push_back(record.text);
  row.decoding_steps.push_back(static_cast<int>(record.rounds.size()));
  row.new_tokens.push_back(static_cast<int>(record.tokens.size()));
  row.wall_time.push_back(static_cast<double>(record.wall_ns) * 1e-9);
  for (const RoundRecord& round : record.rounds) row.accept_lengths.push_back(round.emitted);
}

}  // namespace

std::vector<datasets::AnswerRow> answer_rows(std::span<const GenerationRecord> records, const study::Cell& cell) {
  std::vector<datasets::AnswerRow> rows;
  std::map<std::string, std::size_t> row_of;
  for (const GenerationRecord& record : records) {
    if (record.arm != PipelineVariant::Method || record.repeat != 0) continue;
    const auto [it, added] = row_of.emplace(record.conversation, rows.size());
    if (added) {
      rows.emplace_back();
      rows.back().question_id = record.conversation;
      rows.back().category = record.category;
      rows.back().answer_id = io::content_hash(cell.hash + "/" + record.conversation);
      rows.back().model_id = fmt::format("foretell-{}", cell.hash);
      rows.back().tstamp = now_seconds();
    }
    add_turn(record, rows[it->second]);  // turns come in order
  }
  return rows;
}

}  // namespace foretell::results
