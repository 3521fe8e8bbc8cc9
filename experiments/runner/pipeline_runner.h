// One pipeline of a cell at work: prompts in, records out.
//
// Contract: run() sends a batch of conversations through the pipeline, turn by turn, once. Later turns hold what
// `answers` knows to have been answered to the earlier ones; arms that share one Answers object therefore see the same
// prompts, whoever answered first. The method's requests know the baseline's tokens (Request::reference), which is what
// an oracle drafter needs; on a recorded target they know the recording.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/record.h"
#include "experiments/workload/arrivals.h"
#include "framework/decoding/decoder.h"

namespace foretell::runner {

// Conversations [first, last) of the workload: they are decoded at once, or, with open-loop arrivals, in one stream.
struct Batch {
  int first = 0, last = 0;
  int index = 0;  // among the batches of its cell
};
std::vector<Batch> batches_of(const study::Cell& cell, const workload::Workload& workload);

// What was answered in a conversation so far: the first answer to a turn counts.
class Answers {
 public:
  void remember(int conversation, const results::GenerationRecord& record);
  std::span<const std::string> texts(int conversation) const;
  const Tokens* tokens(int conversation, int turn) const;  // null: not answered yet
  void forget() { known_.clear(); }

 private:
  struct Known {
    std::vector<std::string> texts;
    std::vector<Tokens> tokens;
  };
  std::map<int, Known> known_;  // by conversation
};

// [J] a counter that only rises; nothing where the machine has none.
using EnergyCounter = std::function<std::optional<double>()>;

class PipelineRunner {
 public:
  // `answers` is shared with the other arms of a group.
  PipelineRunner(results::PipelineVariant arm, const study::Cell& cell, cell::CellSetup& setup, Answers& answers,
                 EnergyCounter energy);

  // Fewer records than the batch has turns where the user interrupted an open loop.
  std::vector<results::GenerationRecord> run(const Batch& batch, int repeat);
  void warm_up(const Batch& batch);
  // Takes in what an earlier process has recorded for this batch: its answers, and what strategies with memory have
  // seen of it.
  void catch_up(const Batch& batch, std::span<const results::GenerationRecord> records);
  const study::Cell& cell() const { return cell_; }

 private:
  // A turn of all conversations of a batch that have one.
  struct TurnOfBatch {
    std::vector<Request> requests = {};
    std::vector<int> owners = {};  // conversations
  };

  const std::vector<workload::Conversation>& conversations() const { return setup_.workload.conversations; }
  int turns_of(int conversation) const { return static_cast<int>(conversations()[conversation].turns.size()); }
  int most_turns(const Batch& batch) const;
  TurnOfBatch turn_of(const Batch& batch, int turn) const;
  Request request(int conversation, int turn) const;

  std::vector<results::GenerationRecord> decode(const Batch& batch, int repeat, const study::BuiltPipeline& pipeline);
  void closed_loop(const Batch& batch, int repeat, const study::BuiltPipeline& pipeline,
                   std::vector<results::GenerationRecord>& records);
  void open_loop(const Batch& batch, int repeat, const study::BuiltPipeline& pipeline,
                 std::vector<results::GenerationRecord>& records);
  results::GenerationRecord record(const Request& request, int conversation, int turn, int repeat,
                                   const Generation& generation, workload::RequestTiming timing) const;

  results::PipelineVariant arm_;
  const study::Cell& cell_;
  cell::CellSetup& setup_;
  Answers& answers_;
  EnergyCounter energy_;
  std::vector<study::BuiltPipeline>& pipelines_;
  bool has_state_, knows_answer_;
};

}  // namespace foretell::runner
