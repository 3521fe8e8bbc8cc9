#include "experiments/workload/recording.h"

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/datasets/prompts.h"

namespace foretell::workload {

Recording Recording::load(const std::filesystem::path& file) {
  Recording recording;
  recording.name_ = file.string();
  for (const datasets::AnswerRow& row : datasets::read_answers(file)) {
    if (row.new_tokens.size() != row.turns.size())
      fail("{}: question {}: {} but {} of new_tokens", file.string(), row.question_id,
           counted(row.turns.size(), "turn"), counted(row.new_tokens.size(), "count"));
    std::vector<RecordedAnswer>& answers = recording.answers_[row.question_id];
    for (std::size_t turn = 0; turn < row.turns.size(); ++turn)
      answers.push_back({row.turns[turn], row.new_tokens[turn]});
  }
  return recording;
}

const RecordedAnswer& Recording::answer(const Conversation& conversation, int turn) const {
  const auto it = answers_.find(conversation.id);
  if (it == answers_.end() || turn >= static_cast<int>(it->second.size()))
    fail("{}: has no answer to turn {} of question {}", name_, turn + 1, conversation.id);
  return it->second[turn];
}

Tokens Recording::tokens(const Conversation& conversation, int turn, const tokenizers::Tokenizer& tokenizer,
                         int max_new_tokens) const {
  const RecordedAnswer& recorded = answer(conversation, turn);
  Tokens tokens = tokenizer.encode(recorded.text, {.add_special = false, .parse_special = false});
  const auto eos = tokenizer.eos();
  if (recorded.new_tokens < max_new_tokens && !eos.empty()) tokens.push_back(eos.front());
  return tokens;
}

}  // namespace foretell::workload
