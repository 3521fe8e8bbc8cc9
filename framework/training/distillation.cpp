#include "framework/training/distillation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/GradMode.h>

#include <fmt/ranges.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/input_file.h"
#include "framework/io/atomic_file.h"
#include "framework/io/content_hash.h"
#include "framework/io/json_reader.h"
#include "framework/training/generation.h"
#include "framework/training/language_loss.h"
#include "framework/training/shuffle.h"

namespace foretell::training {
namespace {

constexpr int kConversations = 32;  // answered between two writes
constexpr int kSpareTokens = 64;    // an answer may be so much longer than the true one

struct Answered {
  datasets::TaskExample example;
  bool complete = true;
};

nlohmann::ordered_json to_json(const Answered& answered) {
  auto turns = nlohmann::ordered_json::array();
  for (const datasets::TaskTurn& turn : answered.example.turns)
    turns.push_back({{"prompt", turn.prompt}, {"answer", turn.answer}});
  return {{"id", answered.example.id},
          {"family", answered.example.family},
          {"complete", answered.complete},
          {"turns", turns}};
}

// Lines that are whole; the last one may have been cut by a kill.
std::vector<Answered> read_answered(const std::filesystem::path& file) {
  std::vector<Answered> all;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return all;
  std::ifstream in = open_input(file);
  int number = 0;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    const Location where{file.string(), ++number};
    const nlohmann::json parsed = io::parse_json(line, where);
    const io::JsonView json(parsed, "", where), turns = json.at("turns");
    Answered answered{{json.at("family").string(), json.at("id").string(), {}}, json.at("complete").boolean()};
    for (std::size_t i = 0; i < turns.size(); ++i)
      answered.example.turns.push_back({turns.at(i).at("prompt").string(), turns.at(i).at("answer").string()});
    all.push_back(std::move(answered));
  }
  return all;
}

void write_answered(const std::filesystem::path& file, const std::vector<Answered>& all) {
  std::string text;
  for (const Answered& answered : all)
    text += to_json(answered).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  io::write_file(file, text);
}

// Answers one turn of every conversation that has it, behind the target's own earlier answers.
void answer_turn(std::span<Answered> conversations, std::size_t turn, const ConversationWriter& writer,
                 const AnswerRequest& asked_for) {
  std::vector<Request> requests;
  std::vector<Answered*> asked;
  for (Answered& answered : conversations) {
    if (turn >= answered.example.turns.size() || !answered.complete) continue;
    Request request;
    request.id = requests.size();
    request.prompt = writer.prompt(answered.example, turn);
    request.max_new_tokens =
        static_cast<int>(writer.tokenizer->encode(answered.example.turns[turn].answer).size()) + kSpareTokens;
    request.stop_tokens = writer.chat->stop_tokens(*writer.tokenizer);
    request.sampling.temperature = asked_for.asked.answer_temperature;
    request.seed = static_cast<std::uint64_t>(asked_for.data.seed);
    answered.complete = static_cast<int>(request.prompt.size()) < asked_for.target->config().context;
    if (!answered.complete) continue;
    requests.push_back(std::move(request));
    asked.push_back(&answered);
  }
  const std::vector<Generation> generations = generate_with(asked_for.target, requests);
  for (std::size_t i = 0; i < generations.size(); ++i) {
    asked[i]->complete = generations[i].finish == FinishReason::StopToken;
    asked[i]->example.turns[turn].answer = answer_text(writer.tokenizer, requests[i].prompt, generations[i]);
  }
}

class ExampleSource final : public SampleSource {
 public:
  ExampleSource(std::vector<datasets::TaskExample> examples, ConversationWriter writer, std::uint64_t seed)
      : examples_(std::move(examples)), writer_(std::move(writer)), seed_(seed) {}

  Sample sample(std::uint64_t index) const override {
    const std::uint64_t size = examples_.size(), pass = index / size;
    return writer_.write(examples_[shuffled(index % size, size, mix64(seed_ ^ mix64(pass)))]);
  }

 private:
  std::vector<datasets::TaskExample> examples_;
  ConversationWriter writer_;
  std::uint64_t seed_;
};

}  // namespace

autograd::TrainLoss DistillationLoss::loss(const autograd::TrainBatch& batch) const {
  autograd::Teacher teacher;
  {
    const c10::NoGradGuard no_grad;
    teacher = {loss_states(target_->forward(batch), batch), target_->head()};
  }
  const at::Tensor state = loss_states(draft_->forward(batch), batch);
  const autograd::DistillLoss loss =
      autograd::distill_loss_training(state, draft_->head(), batch.targets, batch.weights, teacher, mix_);
  const at::Tensor total = loss.total / batch.normaliser;
  const auto term = [&](double sum) { return at::scalar_tensor(sum / batch.normaliser, at::kDouble); };
  return {total,
          {{"loss", total.detach()},
           {"loss.ce", term(loss.terms.ce)},
           {"loss.kl", term(loss.terms.kl)},
           {"loss.tvd", term(loss.terms.tvd)}}};
}

std::string answers_file_name(const AnswerRequest& request, const std::filesystem::path& tokenizer) {
  const auto files = [](const std::filesystem::path& path) {
    return std::filesystem::is_directory(path) ? io::folder_hash(path) : io::file_hash(path);
  };
  const TrainDataSettings& data = request.data;
  std::string all = fmt::format("{} {} {} {} {} {} {} {}", files(*request.asked.folder), files(tokenizer),
                                request.asked.dtype, request.asked.answer_temperature, data.seed, data.curriculum,
                                data.chat_template, fmt::join(data.families, ","));
  for (const auto& [family, share] : data.weights) all += fmt::format(" {}={}", family, share);
  for (const ParameterDoc& parameter : Parameters::describe(data.tasks))
    all += fmt::format(" {}={}", parameter.name, parameter.default_value);
  return fmt::format("answers-{}.jsonl", io::content_hash(all));
}

std::vector<datasets::TaskExample> target_answers(const ConversationWriter& writer, const AnswerRequest& request) {
  const int wanted = request.asked.samples;
  std::vector<Answered> all = read_answered(request.file);
  while (static_cast<int>(all.size()) < wanted && !request.stop()) {
    const int count = std::min(kConversations, wanted - static_cast<int>(all.size()));
    std::vector<Answered> part;
    part.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
      part.push_back({training_example(request.data, all.size() + static_cast<std::size_t>(i)), true});
    std::size_t turns = 0;
    for (const Answered& answered : part) turns = std::max(turns, answered.example.turns.size());
    for (std::size_t turn = 0; turn < turns; ++turn) answer_turn(part, turn, writer, request);
    std::move(part.begin(), part.end(), std::back_inserter(all));
    write_answered(request.file, all);
    if (request.on_progress) request.on_progress(static_cast<int>(all.size()), wanted);
  }
  std::vector<datasets::TaskExample> examples;
  if (static_cast<int>(all.size()) > wanted) all.resize(static_cast<std::size_t>(wanted));
  for (Answered& answered : all)
    if (answered.complete) examples.push_back(std::move(answered.example));
  return examples;
}

std::unique_ptr<SampleSource> make_example_source(std::vector<datasets::TaskExample> examples,
                                                  ConversationWriter writer, std::uint64_t seed) {
  if (examples.empty())
    fail("the target did not bring a single answer to its end: is it trained on this chat template?");
  return std::make_unique<ExampleSource>(std::move(examples), std::move(writer), seed);
}

}  // namespace foretell::training
