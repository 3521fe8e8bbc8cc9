#include "experiments/cell/run_prompts.h"

namespace foretell::cell {

RunPrompts::RunPrompts(const CellSetup& setup, std::span<const results::GenerationRecord> records)
    : dialogue_(setup.dialogue) {
  for (const workload::Conversation& conversation : setup.workload.conversations)
    conversations_[conversation.id] = &conversation;
  for (const results::GenerationRecord& record : records) {
    std::vector<std::string>& said = answers_[record.conversation];
    if (static_cast<int>(said.size()) == record.turn) said.push_back(record.text);
  }
}

Tokens RunPrompts::of(const results::GenerationRecord& record) const {
  return dialogue_.prompt(*conversations_.at(record.conversation), record.turn,
                          std::span(answers_.at(record.conversation)).first(static_cast<std::size_t>(record.turn)));
}

}  // namespace foretell::cell
