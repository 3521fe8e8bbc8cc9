// The loop: draft, score, verify, commit.
//
// Contract: add_request() takes a request into a free slot and prefills it, step() runs one round for all running
// sequences, take_finished() hands out those that have finished. run() is a loop over the three. Batch 1 and batch N
// are the same path. What comes out depends on the request (its id, seed and options), never on its neighbours, as long
// as the strategies keep no state across prompts.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/api/policy.h"
#include "framework/api/target.h"
#include "framework/api/verifier.h"
#include "framework/core/at_work.h"
#include "framework/decoding/sequence.h"
#include "framework/decoding/step_clock.h"

namespace foretell::decoding {

struct Pipeline {
  Drafter& drafter;
  const Verifier& verifier;
  DraftPolicy& policy;
};

struct RoundEvent {
  const Request& request;
  int round;  // of this request, from 0
  const RoundView& view;
  const RoundRecord& record;
};

struct DecoderOptions {
  int max_batch = 1;
  std::function<void(const RoundEvent&)> on_round = {};
  const StepClock* clock = nullptr;  // none: the wall clock
  // Tests put an enumerator here; the default is Philox.
  std::function<std::unique_ptr<Rng>(const RngKey&)> make_rng = {};
};

class Decoder {
 public:
  // An Error if the pipeline's parts do not fit each other or the target.
  Decoder(Target& target, const Pipeline& pipeline, DecoderOptions options = {});
  ~Decoder();

  bool has_free_slot() const;
  bool idle() const;  // nothing is running
  void add_request(const Request& request);
  void step();
  std::vector<Generation> take_finished();
  // Decodes all requests, at most max_batch at once; results in the order of the requests.
  std::vector<Generation> run(std::span<const Request> requests);
  Generation run(const Request& request);

 private:
  struct Running;
  std::vector<Running*> unfinished();
  static std::vector<AtWork::Sequence> at_work(std::span<Running* const> batch);
  std::vector<DraftBudget> plan(std::span<Running* const> batch);
  DraftBudget clip(const DraftBudget& budget, const Running& running) const;
  std::vector<DraftTree> draft(std::span<Running* const> batch, std::span<const DraftBudget> budgets);
  std::vector<std::unique_ptr<Scores>> score(std::span<Running* const> batch, std::span<const DraftTree> drafts);
  std::vector<Verdict> verify(std::span<Running* const> batch, std::span<const DraftTree> drafts,
                              std::span<const std::unique_ptr<Scores>> scores);
  std::vector<RoundRecord> commit(std::span<Running* const> batch, std::span<const DraftTree> drafts,
                                  std::span<const Verdict> verdicts);
  std::unique_ptr<Rng> rng(const Running& running, RngPurpose purpose) const;

  Target& target_;
  Pipeline pipeline_;
  DecoderOptions options_;
  int rows_;
  std::vector<std::unique_ptr<Running>> slots_;
};

// The Error text for a pipeline whose parts do not fit, none if they do. `foretell check` and the constructor both ask
// here.
std::optional<std::string> incompatibility(const Target& target, const Pipeline& pipeline,
                                           const SamplingOptions& sampling);

}  // namespace foretell::decoding
