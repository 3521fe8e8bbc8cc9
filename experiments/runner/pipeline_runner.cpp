#include "experiments/runner/pipeline_runner.h"

#include <algorithm>
#include <functional>

#include "experiments/runner/recorded_run.h"
#include "framework/core/error.h"
#include "framework/core/plugin_call.h"
#include "framework/measurement/processor_time.h"

namespace foretell::runner {

std::vector<Batch> batches_of(const study::Cell& cell, const workload::Workload& workload) {
  const int count = static_cast<int>(workload.conversations.size());
  const int size = cell.run.request_rate ? count : cell.run.batch_size;
  std::vector<Batch> batches;
  for (int first = 0; first < count; first += size)
    batches.push_back({first, std::min(first + size, count), first / size});
  return batches;
}

void Answers::remember(int conversation, const results::GenerationRecord& record) {
  Known& known = known_[conversation];
  if (static_cast<int>(known.texts.size()) != record.turn) return;
  known.texts.push_back(record.text);
  known.tokens.push_back(record.tokens);
}

std::span<const std::string> Answers::texts(int conversation) const {
  const auto known = known_.find(conversation);
  return known == known_.end() ? std::span<const std::string>{} : known->second.texts;
}

const Tokens* Answers::tokens(int conversation, int turn) const {
  const auto known = known_.find(conversation);
  if (known == known_.end() || turn >= static_cast<int>(known->second.tokens.size())) return nullptr;
  return &known->second.tokens[static_cast<std::size_t>(turn)];
}

PipelineRunner::PipelineRunner(results::PipelineVariant arm, const study::Cell& cell, cell::CellSetup& setup,
                               Answers& answers, EnergyCounter energy)
    : arm_(arm),
      cell_(cell),
      setup_(setup),
      answers_(answers),
      energy_(std::move(energy)),
      pipelines_(arm == results::PipelineVariant::Method ? setup.method : setup.baseline),
      has_state_(arm == results::PipelineVariant::Method ? setup.method_has_state : setup.baseline_has_state),
      knows_answer_(arm == results::PipelineVariant::Method && cell::takes_answer(cell)) {}

std::vector<results::GenerationRecord> PipelineRunner::run(const Batch& batch, int repeat) {
  return decode(batch, repeat, pipelines_[has_state_ ? static_cast<std::size_t>(repeat) : 0]);
}

void PipelineRunner::warm_up(const Batch& batch) { decode(batch, 0, pipelines_.back()); }

void PipelineRunner::catch_up(const Batch& batch, std::span<const results::GenerationRecord> records) {
  std::map<std::string, int> conversation_of;
  for (int c = batch.first; c < batch.last; ++c) conversation_of[conversations()[c].id] = c;
  const auto for_each_of = [&](results::PipelineVariant arm, int turn,
                               const std::function<void(int, const results::GenerationRecord&)>& f) {
    for (const results::GenerationRecord& record : records) {
      const auto owner = conversation_of.find(record.conversation);
      if (record.arm == arm && record.turn == turn && owner != conversation_of.end()) f(owner->second, record);
    }
  };
  const auto remember = [&](int conversation, const results::GenerationRecord& record) {
    if (record.repeat == 0) answers_.remember(conversation, record);
  };
  for (int turn = 0; turn < most_turns(batch); ++turn) {
    if (arm_ == results::PipelineVariant::Method)
      for_each_of(results::PipelineVariant::Baseline, turn, remember);  // it had answered first
    std::map<int, std::vector<RecordedRequest>> by_repeat;
    for_each_of(arm_, turn, [&](int conversation, const results::GenerationRecord& r) {
      by_repeat[r.repeat].push_back({request(conversation, turn), &r});
    });
    for (const auto& [repeat, requests] : by_repeat) {
      const auto context = setup_.model ? std::optional(setup_.model->config().context) : std::nullopt;
      if (!has_state_) continue;
      const study::BuiltPipeline& pipeline = pipelines_[static_cast<std::size_t>(repeat)];
      retell(setup_.target_of(pipeline), context, pipeline.view(), requests);
    }
    for_each_of(arm_, turn, remember);
  }
}

int PipelineRunner::most_turns(const Batch& batch) const {
  int turns = 0;
  for (int c = batch.first; c < batch.last; ++c) turns = std::max(turns, turns_of(c));
  return turns;
}

PipelineRunner::TurnOfBatch PipelineRunner::turn_of(const Batch& batch, int turn) const {
  TurnOfBatch out;
  for (int c = batch.first; c < batch.last; ++c) {
    if (turn >= turns_of(c)) continue;
    out.requests.push_back(request(c, turn));
    out.owners.push_back(c);
  }
  return out;
}

Request PipelineRunner::request(int index, int turn) const {
  const workload::Conversation& conversation = conversations()[index];
  Request out;
  out.id = static_cast<std::uint64_t>(index) * 1024 + static_cast<std::uint64_t>(turn);
  out.name = conversation.turns.size() > 1 ? fmt::format("{}, turn {}", conversation.id, turn) : conversation.id;
  out.max_new_tokens = setup_.workload.max_new_tokens;
  out.stop_tokens = setup_.stop_tokens;
  out.sampling = cell_.sampling;
  out.seed = static_cast<std::uint64_t>(cell_.run.seed);
  std::vector<std::string> recorded;
  std::span<const std::string> earlier = answers_.texts(index);
  if (setup_.recording) {
    for (int t = 0; t < turn; ++t) recorded.push_back(setup_.recording->answer(conversation, t).text);
    earlier = recorded;
  }
  out.prompt = setup_.dialogue.prompt(conversation, turn, earlier.first(static_cast<std::size_t>(turn)));
  if (setup_.distributions)
    setup_.distributions->complete(conversation, turn, out);
  else if (setup_.recording)
    out.reference = setup_.recording->tokens(conversation, turn, *setup_.tokenizer, out.max_new_tokens);
  else if (const Tokens* said = answers_.tokens(index, turn); said && knows_answer_)
    out.reference = *said;
  return out;
}

std::vector<results::GenerationRecord> PipelineRunner::decode(const Batch& batch, int repeat,
                                                              const study::BuiltPipeline& pipeline) {
  std::vector<results::GenerationRecord> records;
  const std::optional<double> before = energy_ ? energy_() : std::nullopt;
  const measurement::ProcessorTime begin = measurement::read_processor_time();
  try {
    cell_.run.request_rate ? open_loop(batch, repeat, pipeline, records)
                           : closed_loop(batch, repeat, pipeline, records);
  } catch (const PluginError& error) {
    fail("cell '{}': {}", cell_.name, error.what());  // which names the prompt
  } catch (const Error& error) {
    fail("cell '{}', {} {}: {}", cell_.name, batch.last - batch.first > 1 ? "prompts from" : "prompt",
         conversations()[batch.first].id, error.what());
  }
  const std::optional<double> after = energy_ ? energy_() : std::nullopt;
  const std::optional<double> waited = contention(begin, measurement::read_processor_time());
  for (results::GenerationRecord& record : records) record.contention = waited;
  if (batch.last - batch.first > 1)
    for (results::GenerationRecord& record : records) record.batch = batch.index;
  if (before && after)
    for (results::GenerationRecord& record : records)
      record.joules = (*after - *before) / static_cast<double>(records.size());
  return records;
}

void PipelineRunner::closed_loop(const Batch& batch, int repeat, const study::BuiltPipeline& pipeline,
                                 std::vector<results::GenerationRecord>& records) {
  for (int turn = 0; turn < most_turns(batch); ++turn) {
    const TurnOfBatch now = turn_of(batch, turn);
    workload::RoundClock clock;
    decoding::Decoder decoder(
        setup_.target_of(pipeline), pipeline.view(),
        {.max_batch = cell_.run.batch_size, .on_round = clock.listener(), .clock = setup_.clock.get()});
    const std::vector<Generation> generations = decoder.run(now.requests);
    const std::int64_t share = clock.now_ns() / static_cast<std::int64_t>(now.requests.size());
    for (std::size_t k = 0; k < now.requests.size(); ++k) {
      workload::RequestTiming timing = clock.take(now.requests[k].id);
      timing.wall_ns = share;
      records.push_back(record(now.requests[k], now.owners[k], turn, repeat, generations[k], std::move(timing)));
      answers_.remember(now.owners[k], records.back());
    }
  }
}

void PipelineRunner::open_loop(const Batch& batch, int repeat, const study::BuiltPipeline& pipeline,
                               std::vector<results::GenerationRecord>& records) {
  workload::RoundClock clock;
  decoding::Decoder decoder(
      setup_.target_of(pipeline), pipeline.view(),
      {.max_batch = cell_.run.batch_size, .on_round = clock.listener(), .clock = setup_.clock.get()});
  const auto times = workload::poisson_arrivals(batch.last - batch.first, *cell_.run.request_rate,
                                                static_cast<std::uint64_t>(cell_.run.seed));
  std::vector<workload::Arrival> arrivals;
  for (int c = batch.first; c < batch.last; ++c)
    arrivals.push_back({times[static_cast<std::size_t>(c - batch.first)], c, 0});
  workload::OpenLoop loop;
  loop.request = [&](const workload::Arrival& arrival) { return request(arrival.conversation, arrival.turn); };
  loop.ended = [&](const workload::Arrival& arrival, const Generation& generation,
                   workload::RequestTiming timing) -> std::vector<workload::Arrival> {
    const Request asked = request(arrival.conversation, arrival.turn);
    records.push_back(record(asked, arrival.conversation, arrival.turn, repeat, generation, std::move(timing)));
    answers_.remember(arrival.conversation, records.back());
    if (arrival.turn + 1 >= turns_of(arrival.conversation)) return {};
    return {{0, arrival.conversation, arrival.turn + 1}};
  };
  workload::run_open_loop(decoder, clock, std::move(arrivals), loop);
}

results::GenerationRecord PipelineRunner::record(const Request& request, int index, int turn, int repeat,
                                                 const Generation& generation, workload::RequestTiming timing) const {
  const workload::Conversation& conversation = conversations()[index];
  const std::string text = setup_.dialogue.answer_text(request.prompt, generation.tokens);
  const workload::Turn& asked = conversation.turns[static_cast<std::size_t>(turn)];
  return {.conversation = conversation.id,
          .category = conversation.category,
          .task = conversation.task,
          .turn = turn,
          .repeat = repeat,
          .arm = arm_,
          .prompt_tokens = static_cast<int>(request.prompt.size()),
          .tokens = generation.tokens,
          .text = text,
          .exact = asked.answer ? std::optional(asked.is_right(text)) : std::nullopt,
          .finish = to_string(generation.finish),
          .arrival_ns = timing.arrival_ns,
          .prefill_ns = generation.prefill_ns,
          .wall_ns = timing.wall_ns,
          .rounds = generation.rounds,
          .round_ends = std::move(timing.round_ends)};
}

}  // namespace foretell::runner
