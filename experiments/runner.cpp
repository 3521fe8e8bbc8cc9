#include "experiments/runner.h"

#include <algorithm>

#include "experiments/answer_rows.h"
#include "experiments/interrupt.h"
#include "framework/base/error.h"
#include "framework/base/stopwatch.h"
#include "framework/text/tasks.h"

namespace foretell {
namespace {

// What is known of a conversation while its cell runs.
struct Progressed {
  std::vector<std::string> answers;  // to the turns so far, of the first run
  std::vector<Tokens> references;    // the same as tokens
};

class CellRunner {
 public:
  CellRunner(const Cell& cell, CellSetup& setup, Store& store, const std::function<void(int)>& on_prompts)
      : cell_(cell),
        setup_(setup),
        store_(store),
        on_prompts_(on_prompts),
        method_(*setup.target, setup.method.view(), {.max_batch = cell.run.batch_size}) {
    if (setup.baseline) baseline_.emplace(*setup.target, setup.baseline->view(), DecoderOptions{.max_batch = cell.run.batch_size});
    progressed_.resize(conversations().size());
  }

  CellRun run() {
    warm_up();
    if (baseline_ && !cell_.run.interleave) {
      if (run_all({Arm::Baseline})) run_all({Arm::Method});
    } else if (baseline_) {
      run_all({Arm::Baseline, Arm::Method});
    } else {
      run_all({Arm::Method});
    }
    return std::move(out_);
  }

 private:
  struct Group {
    int first, last;  // conversations [first, last)
  };

  const std::vector<Conversation>& conversations() const { return setup_.workload.conversations; }
  Group group_from(int first) const { return {first, std::min(first + cell_.run.batch_size, static_cast<int>(conversations().size()))}; }

  void warm_up() {
    if (conversations().empty() || !setup_.timed()) return;
    const Group group = group_from(0);
    for (int i = 0; i < cell_.run.warmup && !interrupted(); ++i) {
      if (baseline_) run_group(group, Arm::Baseline, 0);
      run_group(group, Arm::Method, 0);
    }
    progressed_.assign(conversations().size(), {});
  }

  // False if interrupted.
  bool run_all(const std::vector<Arm>& arms) {
    for (int first = 0; first < static_cast<int>(conversations().size()); first += cell_.run.batch_size) {
      const Group group = group_from(first);
      std::vector<GenerationRecord> records;
      for (int repeat = 0; repeat < cell_.run.repeats; ++repeat) {
        for (const Arm arm : arms) {
          auto more = run_group(group, arm, repeat);
          std::move(more.begin(), more.end(), std::back_inserter(records));
          on_prompts_(group.last - group.first);
        }
      }
      keep(std::move(records));
      if (interrupted()) return out_.complete = false;
    }
    return true;
  }

  void keep(std::vector<GenerationRecord> records) {
    store_.append(records);
    if (setup_.workload.type == "spec_bench") {
      for (const AnswerRow& row : answer_rows(records, cell_)) store_.append_answer(row);
    }
    std::move(records.begin(), records.end(), std::back_inserter(out_.records));
  }

  std::vector<GenerationRecord> run_group(const Group& group, Arm arm, int repeat) {
    std::vector<GenerationRecord> records;
    int turns = 0;
    for (int i = group.first; i < group.last; ++i) turns = std::max(turns, static_cast<int>(conversations()[i].turns.size()));
    for (int turn = 0; turn < turns; ++turn) run_turn(group, turn, arm, repeat, records);
    return records;
  }

  void run_turn(const Group& group, int turn, Arm arm, int repeat, std::vector<GenerationRecord>& records) {
    std::vector<Request> requests;
    std::vector<int> owners;
    for (int i = group.first; i < group.last; ++i) {
      if (turn >= static_cast<int>(conversations()[i].turns.size())) continue;
      requests.push_back(request(i, turn, arm));
      owners.push_back(i);
    }
    const Stopwatch watch;
    const std::vector<Generation> generations = decode(requests, arm, owners.front());
    const std::int64_t share = watch.elapsed_ns() / static_cast<std::int64_t>(requests.size());
    for (std::size_t k = 0; k < requests.size(); ++k) {
      records.push_back(record(owners[k], turn, arm, repeat, requests[k], generations[k], share));
      remember(owners[k], turn, records.back());
    }
  }

  std::vector<Generation> decode(const std::vector<Request>& requests, Arm arm, int first) {
    try {
      return (arm == Arm::Method ? method_ : *baseline_).run(requests);
    } catch (const Error& error) {
      fail("cell '{}', prompt {}: {}", cell_.name, conversations()[first].id, error.what());
    }
  }

  Request request(int index, int turn, Arm arm) {
    const Conversation& conversation = conversations()[index];
    Request out;
    out.id = static_cast<std::uint64_t>(index) * 1024 + static_cast<std::uint64_t>(turn);
    out.max_new_tokens = setup_.workload.max_new_tokens;
    out.stop_tokens = setup_.stop_tokens;
    out.sampling = cell_.sampling;
    out.seed = static_cast<std::uint64_t>(cell_.run.seed);
    out.prompt = setup_.dialogue.prompt(conversation, turn, answers(index, turn));
    if (setup_.recording)
      out.reference = setup_.recording->tokens(conversation, turn, *setup_.tokenizer, out.max_new_tokens);
    else if (arm == Arm::Method && baseline_ && cell_.sampling.greedy())
      out.reference = progressed_[index].references[turn];
    return out;
  }

  std::vector<std::string> answers(int index, int turn) const {
    if (!setup_.recording) return {progressed_[index].answers.begin(), progressed_[index].answers.begin() + turn};
    std::vector<std::string> recorded;
    for (int t = 0; t < turn; ++t) recorded.push_back(setup_.recording->answer(conversations()[index], t).text);
    return recorded;
  }

  void remember(int index, int turn, const GenerationRecord& record) {
    Progressed& progressed = progressed_[index];
    if (static_cast<int>(progressed.answers.size()) > turn) return;
    progressed.answers.push_back(record.text);
    progressed.references.push_back(record.tokens);
  }

  GenerationRecord record(int index, int turn, Arm arm, int repeat, const Request& request, const Generation& generation,
                          std::int64_t wall_ns) const {
    const Conversation& conversation = conversations()[index];
    const std::string text = setup_.dialogue.answer_text(request.prompt, generation.tokens);
    const std::optional<std::string>& right = conversation.turns[turn].answer;
    return {.conversation = conversation.id,
            .category = conversation.category,
            .task = conversation.task,
            .turn = turn,
            .repeat = repeat,
            .arm = arm,
            .prompt_tokens = static_cast<int>(request.prompt.size()),
            .tokens = generation.tokens,
            .text = text,
            .exact = right ? std::optional(exact_match(text, *right)) : std::nullopt,
            .finish = to_string(generation.finish),
            .prefill_ns = generation.prefill_ns,
            .wall_ns = wall_ns,
            .rounds = generation.rounds};
  }

  const Cell& cell_;
  CellSetup& setup_;
  Store& store_;
  const std::function<void(int)>& on_prompts_;
  Decoder method_;
  std::optional<Decoder> baseline_;
  std::vector<Progressed> progressed_;
  CellRun out_;
};

}  // namespace

CellRun run_cell(const Cell& cell, CellSetup& setup, Store& store, const std::function<void(int)>& on_prompts) {
  return CellRunner(cell, setup, store, on_prompts).run();
}

int planned_prompts(const Cell& cell, const CellSetup& setup) {
  return static_cast<int>(setup.workload.conversations.size()) * cell.run.repeats * (setup.baseline ? 2 : 1);
}

}  // namespace foretell
