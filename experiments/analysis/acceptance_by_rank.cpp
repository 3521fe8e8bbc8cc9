#include "experiments/analysis/acceptance_by_rank.h"

#include <algorithm>

#include "experiments/util/interrupt.h"

namespace foretell::analysis {

std::vector<double> RankCounts::rates() const {
  std::vector<double> out;
  for (const int count : accepted) out.push_back(rounds == 0 ? 0.0 : static_cast<double>(count) / rounds);
  return out;
}

RankCounts count_accepted_ranks(const study::Cell& cell, const cell::CellSetup& setup, int ranks,
                                const std::function<void()>& on_prompt) {
  RankCounts counts{std::vector<int>(static_cast<std::size_t>(ranks), 0), 0};
  decoding::DecoderOptions options;
  options.on_round = [&](const decoding::RoundEvent& event) {
    const auto proposals = event.view.draft.proposals(kAnchor);
    if (proposals.empty()) return;  // the last token of an answer
    ++counts.rounds;
    if (event.view.verdict.accepted.empty()) return;
    const NodeId first = event.view.verdict.accepted.front();
    const auto rank =
        std::find_if(proposals.begin(), proposals.end(), [&](const Proposal& p) { return p.node == first; }) -
        proposals.begin();
    if (rank < ranks) ++counts.accepted[static_cast<std::size_t>(rank)];
  };
  const study::BuiltPipeline& pipeline = setup.method.front();
  decoding::Decoder decoder(setup.target_of(pipeline), pipeline.view(), options);
  std::uint64_t id = 0;
  for (const workload::Conversation& conversation : setup.workload.conversations) {
    if (util::interrupted()) break;
    Request request;
    request.id = id++;
    request.prompt = setup.dialogue.prompt(conversation, 0, {});
    request.max_new_tokens = setup.workload.max_new_tokens;
    request.stop_tokens = setup.stop_tokens;
    request.sampling = cell.sampling;
    request.seed = static_cast<std::uint64_t>(cell.run.seed);
    decoder.run(request);
    on_prompt();
  }
  return counts;
}

}  // namespace foretell::analysis
