// A recorded answer as the target of the loop.
//
// Two kinds. *Answers alone* (Request::reference): the target's distribution exists on the recorded path only and is a
// point mass there. Greedy verification never leaves that path, so a drafter that needs no hidden states meets exactly
// the model that was recorded. *Answers with distributions* (Request::data): the same at temperature 0, and above it a
// run given its output. Let Y be what a lossless run emits. Its distribution is the target's whatever was drafted, so
// if Y was drawn from the target, by anyone, then Y together with rounds drawn from their distribution *given* Y is
// distributed as output and rounds of a live run are. What is needed is that conditional distribution, and it is found
// while the draft is made.
//
// Rejection (framework/api/rejection_walk.h). At a node on the emitted path let y be the token that is emitted behind
// it, p_1 the target's distribution, q_1 the draft's. Test j draws x from q_j, accepts it with probability min(1,
// p_j(x) / q_j(x)), and else goes on with p_{j+1} = norm(max(p_j - q_j, 0)) and q_{j+1}: q_j, without x for draws
// without replacement. What is emitted from test j on has the distribution p_j. Hence
//   P(test j accepts, and x = y | y)  =  q_j(y) min(1, p_j(y) / q_j(y)) / p_j(y)  =  min(1, q_j(y) / p_j(y))
//   P(x | test j rejects, y)          =  norm(max(q_j - p_j, 0))(x)                 (what follows a rejection depends
//   on p_{j+1} alone, not on x)
// So a draw is y with the first probability, and else comes from the second distribution, after which p and q are
// reduced. Once a test has accepted, further draws at the node are not looked at: they keep their own distribution, as
// all draws off the path do. Two things follow. A draw that was rejected is never y: where q_j(y) > p_j(y) the first
// probability is 1. And the draft tokens that are accepted are exactly those that agree with the path, so to verify is
// to match, which is what rejection does with a target whose distribution is the point mass at y: verdicts come from
// the pipeline's own verifier, shown that distribution. For a chosen token, q_1 is 1 there, and the draft is made
// without looking at y: it is accepted where it is y, with or without siblings.
//
// Unchanged (sample_then_match, sequential_one_hot): the emitted token has distribution p given the draft, so the
// draft's distribution given y is its own. Nothing is tilted.
//
// The factors of several depths multiply because the target's distribution of later tokens does not depend on how
// earlier ones came about, and because a draft's deeper draws depend on shallower ones only. That fails for verifiers
// that decide over several depths together (block, traversal) or whose distribution of what was drafted has another
// form (spectr, optimal_transport, multi_step): they are refused above temperature 0, and so are lossy ones, which do
// not emit Y.
//
// Contract: Request::reference is the answer, with its stop token where the recording ended by itself; Request::data,
// where there are any, belong to it and to the request's sampling options. A draft may reach beyond the end of an
// answer with distributions, as a live one does beyond a stop token; what is said there is dropped. Distributions are
// those of RecordedDistributions::row(), warped by the request's options. Refused: temperature above 0 without
// distributions or with other options than the recorded ones, penalties and bias, verifiers that need more than the
// argmax, and requests without an answer. Wall-clock times mean nothing here.
#pragma once

#include <memory>
#include <optional>

#include "framework/api/target.h"

namespace foretell::replay {

struct ReplayOptions {
  // Of answers with distributions: how their tokens were drawn, and where the recorded model's context ended.
  std::optional<SamplingOptions> recorded = {};
  std::optional<int> context = {};
};

std::unique_ptr<Target> make_replay_target(int vocab, ReplayOptions options = {});

}  // namespace foretell::replay
