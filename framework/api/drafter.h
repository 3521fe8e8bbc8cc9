// Makes proposals.
//
// Contract: draft() returns one tree a context, in the same order, within the context's budget: at most budget.nodes
// nodes besides the anchor, no node deeper than budget.depth. An empty tree (the bare anchor) is always allowed. The
// law in a proposal is the one that its token was really drawn from, given the prefix; whether a node is in the tree
// must not depend on that node's own drawn token (it may on earlier ones). The drafter serves the whole batch;
// SequenceDrafter is the simpler base for strategies that treat sequences one by one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/api/draft_tree.h"
#include "framework/api/request.h"
#include "framework/api/round.h"
#include "framework/api/scores.h"
#include "framework/core/registry.h"
#include "framework/core/rng.h"
#include "framework/core/types.h"
#include "framework/sampling/sampling.h"

namespace foretell::decoding {
class TargetView;
}  // namespace foretell::decoding

namespace foretell {

class DraftPolicy;

struct DraftBudget {
  int nodes = 0;  // besides the anchor
  int depth = 0;
  int width = 1;  // nodes per depth at most
};

// What the drafter's proposals can look like, so that a pipeline that does not fit is refused before it runs.
struct DraftForm {
  bool tree = false;         // more than one proposal at a node
  bool point_mass = false;   // chosen tokens
  bool independent = false;  // draws with replacement
  bool without_replacement = false;
  bool several_laws = false;  // draws at one node from different laws: several draft models
};

// Hidden states that the target is to hand over. Asking for nothing costs nothing.
struct HiddenRequest {
  std::vector<int> taps = {};  // 0: embeddings, l: after decoder layer l
  bool final_state = false;
  bool empty() const { return taps.empty() && !final_state; }
  friend bool operator==(const HiddenRequest&, const HiddenRequest&) = default;
};

struct PromptView {
  const Request& request;
  TokenSpan tokens;
};

// Prompt tokens [first, first + tokens.size()) have gone through the target. The last prompt token is the first anchor:
// it never comes here.
struct PromptChunk {
  int first;
  TokenSpan tokens;
  const HiddenStates* hidden;  // if the drafter wants any
};

// Draws a draft's tokens in a replay above temperature 0, where the output is known before the draft is made: from the
// draft's law given that output (replay_target.h).
class GivenDraws {
 public:
  virtual ~GivenDraws() = default;
  // The next of the draws at `parent`, from q as the earlier ones have left it.
  virtual Token draw(const DraftTree& tree, NodeId parent, const Law& q, const Sampler& sampler, Rng& rng) = 0;
};

struct DraftContext {
  SlotId slot;
  const Request& request;
  const Sampler& sampler;
  TokenSpan committed;  // prompt and emitted tokens; the last one is the anchor
  DraftBudget budget;
  Rng& rng;
  DraftPolicy& policy;           // may be asked before each level whether to go on
  decoding::TargetView* target;  // of this sequence; none if the target has no layers to lend (a recorded answer)

  int vocab = 0;
  GivenDraws* given = nullptr;  // of this sequence, in such a replay
  TokenSpan generated() const { return committed.subspan(request.prompt.size()); }
  // A draw from q, the law of proposals at `parent` as earlier draws there have left it.
  Token draw(const DraftTree& tree, NodeId parent, const Law& q) const {
    return given ? given->draw(tree, parent, q, sampler, rng) : q.draw(rng);
  }
};

struct RoundView {
  SlotId slot;
  TokenSpan committed;  // after the round
  const DraftTree& draft;
  Scores& scores;
  const Verdict& verdict;
  int emitted;  // tokens that the round added to `committed`
};

class Drafter : public Strategy {
 public:
  // The most that the configured strategy would draft in a round; policies start from here.
  virtual DraftBudget limits() const = 0;
  virtual DraftForm form() const = 0;
  virtual HiddenRequest wants() const { return {}; }
  // Whether observe() or the draft's scored-only nodes need the target's logits off the emitted path, which a recorded
  // answer does not have.
  virtual bool needs_logits() const { return false; }
  // Whether it draws its proposals through DraftContext::draw() alone, one node's after the other: then a replay may
  // draw them given the output.
  virtual bool draws_through_context() const { return false; }
  // Whether `committed` may have lost tokens since the last draft: only then can a cascade try this drafter on text
  // that may be taken back.
  virtual bool rewinds() const { return false; }
  // Says why a request cannot be served (an Error) before anything has been computed for it.
  virtual void check(const Request&) const {}

  virtual void begin(SlotId, const PromptView&) {}
  virtual void observe_prompt(SlotId, const PromptChunk&) {}
  virtual std::vector<DraftTree> draft(std::span<const DraftContext> batch) = 0;
  virtual void observe(std::span<const RoundView>) {}
  virtual void end(SlotId) {}
};

// One object per sequence. What is shared between sequences is a member of the factory's captured state.
class SequenceDrafter {
 public:
  virtual ~SequenceDrafter() = default;
  virtual void observe_prompt(const PromptChunk&) {}
  virtual DraftTree draft(const DraftContext& context) = 0;
  virtual void observe(const RoundView&) {}
};

// A batch drafter out of sequence drafters.
class PerSequenceDrafter : public Drafter {
 public:
  void begin(SlotId slot, const PromptView& prompt) final { sequences_[slot] = open(prompt); }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) final { sequences_.at(slot)->observe_prompt(chunk); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) final;
  void observe(std::span<const RoundView> rounds) final;
  void end(SlotId slot) final { sequences_.erase(slot); }

 protected:
  virtual std::unique_ptr<SequenceDrafter> open(const PromptView& prompt) = 0;

 private:
  std::map<SlotId, std::unique_ptr<SequenceDrafter>> sequences_;
};

template <>
Registry<Drafter>& Registry<Drafter>::instance();
template <>
const char* Registry<Drafter>::kind();
template <>
std::unique_ptr<Drafter> Registry<Drafter>::guard(const PluginStrategy& who, std::unique_ptr<Drafter> strategy);

}  // namespace foretell
