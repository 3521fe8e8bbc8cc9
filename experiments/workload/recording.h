// A real model's recorded greedy answers.
//
// Contract: read from FastChat's answer rows (question_id, choices[0].turns, choices[0].new_tokens), as Spec-Bench
// writes them. The tokens of an answer are those that its text has right after the prompt: Spec-Bench decodes the
// answer, strips it and keeps the text, and encoding that text alone gives the same tokens as encoding it behind the
// prompt. A recording that ended before the run's limit had ended by itself: it gets a stop token at its end.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "experiments/workload/workload.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::workload {

struct RecordedAnswer {
  std::string text;
  int new_tokens = 0;  // as recorded, the stop token included
};

class Recording {
 public:
  static Recording load(const std::filesystem::path& file);

  // An Error if a turn of the conversation has no recorded answer.
  const RecordedAnswer& answer(const Conversation& conversation, int turn) const;
  Tokens tokens(const Conversation& conversation, int turn, const tokenizers::Tokenizer& tokenizer,
                int max_new_tokens) const;
  std::size_t size() const { return answers_.size(); }

 private:
  std::string name_;
  std::map<std::string, std::vector<RecordedAnswer>> answers_;  // by question id
};

}  // namespace foretell::workload
