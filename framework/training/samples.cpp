#include "framework/training/samples.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/rng.h"

namespace foretell::training {
namespace {

std::size_t common_prefix(TokenSpan a, TokenSpan b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

bool ends(const std::vector<Token>& stops, Token token) {
  return std::find(stops.begin(), stops.end(), token) != stops.end();
}

class TaskSource final : public SampleSource {
 public:
  TaskSource(TrainDataSettings data, ConversationWriter writer) : data_(std::move(data)), writer_(std::move(writer)) {}

  Sample sample(std::uint64_t index) const override { return writer_.write(training_example(data_, index)); }

 private:
  TrainDataSettings data_;
  ConversationWriter writer_;
};

}  // namespace

Tokens ConversationWriter::prompt(const datasets::TaskExample& example, std::size_t turn) const {
  std::vector<chat::Message> messages;
  for (std::size_t i = 0; i < turn; ++i) {
    messages.push_back({"user", example.turns[i].prompt});
    messages.push_back({"assistant", example.turns[i].answer});
  }
  messages.push_back({"user", example.turns[turn].prompt});
  return chat::encode_prompt(*tokenizer, *chat, messages, true);
}

Sample ConversationWriter::write(const datasets::TaskExample& example) const {
  std::vector<chat::Message> messages;
  for (const datasets::TaskTurn& turn : example.turns) {
    messages.push_back({"user", turn.prompt});
    messages.push_back({"assistant", turn.answer});
  }
  const std::vector<Token> stops = chat->stop_tokens(*tokenizer);
  Sample sample{example.family, chat::encode_prompt(*tokenizer, *chat, messages, false), {}};
  if (chat->stop_strings().empty() && !stops.empty() && !ends(stops, sample.tokens.back()))
    sample.tokens.push_back(stops.front());
  sample.weights.assign(sample.tokens.size(), static_cast<float>(prompt_weight));
  // An answer starts where the prompt's own tokens end; should a token reach over that border, it belongs to the
  // answer.
  for (std::size_t turn = 0; turn < example.turns.size(); ++turn) {
    std::size_t end = sample.tokens.size();
    if (turn + 1 < example.turns.size()) end = common_prefix(prompt(example, turn + 1), sample.tokens);
    for (std::size_t i = common_prefix(prompt(example, turn), sample.tokens); i < end; ++i) {
      sample.weights[i] = 1;
      if (ends(stops, sample.tokens[i])) break;
    }
  }
  sample.weights[0] = 0;
  return sample;
}

datasets::TaskExample training_example(const TrainDataSettings& data, std::uint64_t index) {
  std::vector<double> shares;
  for (const std::string& family : data.families)
    shares.push_back(data.weights.contains(family) ? data.weights.at(family) : 1.0);
  PhiloxRng rng({.seed = static_cast<std::uint64_t>(data.seed), .request = index, .purpose = RngPurpose::Workload});
  const std::string& family = data.families[rng.pick(shares)];
  const auto curriculum = static_cast<std::uint64_t>(data.curriculum);
  if (index >= curriculum) return datasets::make_task(family, data.tasks, datasets::TaskSplit::Train, index);
  // Evenly between the easiest and what has been reached, so that short conversations, in which a lookup is learned
  // first, never stop coming.
  const double reached = static_cast<double>(index) / static_cast<double>(curriculum);
  return datasets::make_task(family, data.tasks.eased(rng.uniform() * reached), datasets::TaskSplit::Train, index);
}

std::unique_ptr<SampleSource> make_task_source(const TrainDataSettings& data, ConversationWriter writer) {
  return std::make_unique<TaskSource>(data, std::move(writer));
}

}  // namespace foretell::training
