/// @file
/// Makes proposals.
///
/// Contract: draft() returns one tree a context, in the same order, within the context's budget: at most budget.nodes
/// nodes besides the anchor, no node deeper than budget.depth. An empty tree (the bare anchor) is always allowed. The
/// distribution in a proposal is the one that its token was really drawn from, given the prefix; whether a node is in
/// the tree must not depend on that node's own drawn token (it may on earlier ones). The drafter serves the whole
/// batch; SequenceDrafter is the simpler base for strategies that treat sequences one by one.
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

/// How much may be drafted in a round.
struct DraftBudget {
  int nodes = 0;  ///< besides the anchor
  int depth = 0;  ///< draft tokens on a path at most
  int width = 1;  ///< nodes per depth at most
};

/// What the drafter's proposals can look like, so that a pipeline that does not fit is refused before it runs.
struct DraftForm {
  bool tree = false;                   ///< more than one proposal at a node
  bool point_mass = false;             ///< deterministic tokens
  bool independent = false;            ///< draws with replacement
  bool without_replacement = false;    ///< draws without replacement
  bool several_distributions = false;  ///< draws at one node from different distributions: several draft models
};

/// What a drafter needs and allows. Most say it at registration (StrategyInfo).
struct DrafterTraits {
  /// observe() or the draft's scored-only nodes need the target's logits off the emitted path.
  bool needs_logits = false;
  /// All its draws are made through DraftContext::draw(), one node's after the other: another source may make them.
  bool draws_through_context = false;
  /// `committed` may have lost tokens since the last draft: a cascade can try this drafter on text that may be taken
  /// back.
  bool rewinds = false;
};

/// Hidden states that the target is to hand over. Asking for nothing costs nothing.
struct HiddenStateRequest {
  std::vector<int> aux_states = {};  ///< 0: embeddings, l: after decoder layer l
  bool final_state = false;          ///< the normed state that the head reads
  /// Whether nothing is asked for.
  bool empty() const { return aux_states.empty() && !final_state; }
  /// Whether both ask for the same states in the same order.
  friend bool operator==(const HiddenStateRequest&, const HiddenStateRequest&) = default;
};

/// A new sequence.
struct PromptView {
  const Request& request;  ///< valid until end()
  TokenSpan tokens;        ///< the prompt
};

/// Prompt tokens [first, first + tokens.size()) have gone through the target. The last prompt token is the first
/// anchor: it never comes here.
struct PromptChunk {
  int first;                          ///< position in the prompt
  TokenSpan tokens;                   ///< of the prompt
  const model::HiddenStates* hidden;  ///< if the drafter wants any
};

/// Where the tokens of a draft come from, if not from the draft's distribution alone.
class DrawSource {
 public:
  virtual ~DrawSource() = default;
  /// The next of the draws at `parent`, where q is the draft's distribution as the earlier ones have left it.
  virtual Token draw(const DraftTree& tree, NodeId parent, const Distribution& q, const Sampler& sampler, Rng& rng) = 0;
};

/// One sequence that is to be drafted for.
struct DraftContext {
  SlotId slot;                   ///< its place in the batch
  const Request& request;        ///< what is answered
  const Sampler& sampler;        ///< the target's logits processing
  TokenSpan committed;           ///< prompt and emitted tokens; the last one is the anchor
  DraftBudget budget;            ///< never to be exceeded
  Rng& rng;                      ///< the only source of chance
  DraftPolicy& policy;           ///< may be asked before each level whether to go on
  decoding::TargetView* target;  ///< of this sequence; none if the target has no layers to lend

  int vocab = 0;                ///< the target's
  DrawSource* draws = nullptr;  ///< of this sequence; none: the draft's distributions
  /// The emitted tokens.
  TokenSpan generated() const { return committed.subspan(request.prompt.size()); }
  /// A draw from q, the distribution of proposals at `parent` as earlier draws there have left it.
  Token draw(const DraftTree& tree, NodeId parent, const Distribution& q) const {
    return draws ? draws->draw(tree, parent, q, sampler, rng) : q.draw(rng);
  }
};

/// What came of a draft.
struct RoundView {
  SlotId slot;             ///< its place in the batch
  TokenSpan committed;     ///< after the round
  const DraftTree& draft;  ///< what was scored
  Scores& scores;          ///< of the target, for every node
  const Verdict& verdict;  ///< what was accepted
  int emitted;             ///< tokens that the round added to `committed`
};

/// Proposes tokens for every sequence of a batch.
class Drafter : public Strategy {
 public:
  /// The most that the configured strategy would draft in a round; policies start from here.
  virtual DraftBudget limits() const = 0;
  /// What its proposals look like.
  virtual DraftForm form() const = 0;
  /// The hidden states that it needs of the target.
  virtual HiddenStateRequest required_hidden_states() const { return {}; }
  /// What it needs and allows; drafters that are made of others say what these do.
  virtual DrafterTraits traits() const { return {info().needs_logits, info().draws_through_context, info().rewinds}; }
  /// Says why a request cannot be served (an Error) before anything has been computed for it.
  virtual void check(const Request&) const {}

  /// A sequence starts in this slot.
  virtual void begin(SlotId, const PromptView&) {}
  /// A part of the prompt has been prefilled.
  virtual void observe_prompt(SlotId, const PromptChunk&) {}
  /// One draft for each context, in their order, each within its budget. An empty draft is allowed.
  virtual std::vector<DraftTree> draft(std::span<const DraftContext> batch) = 0;
  /// The round's outcome for every sequence that took part.
  virtual void observe(std::span<const RoundView>) {}
  /// The sequence of this slot is finished.
  virtual void end(SlotId) {}
};

/// One object per sequence. What is shared between sequences is a member of the factory's captured state.
class SequenceDrafter {
 public:
  virtual ~SequenceDrafter() = default;
  /// As Drafter::observe_prompt(), of this sequence.
  virtual void observe_prompt(const PromptChunk&) {}
  /// As Drafter::draft(), of this sequence.
  virtual DraftTree draft(const DraftContext& context) = 0;
  /// As Drafter::observe(), of this sequence.
  virtual void observe(const RoundView&) {}
};

/// A batch drafter out of sequence drafters.
class PerSequenceDrafter : public Drafter {
 public:
  void begin(SlotId slot, const PromptView& prompt) final { sequences_[slot] = open(prompt); }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) final { sequences_.at(slot)->observe_prompt(chunk); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) final;
  void observe(std::span<const RoundView> rounds) final;
  void end(SlotId slot) final { sequences_.erase(slot); }

 protected:
  /// A drafter for a new sequence.
  virtual std::unique_ptr<SequenceDrafter> open(const PromptView& prompt) = 0;

 private:
  std::map<SlotId, std::unique_ptr<SequenceDrafter>> sequences_;
};

/// @cond
template <>
Registry<Drafter>& Registry<Drafter>::instance();
template <>
const char* Registry<Drafter>::kind();
template <>
std::unique_ptr<Drafter> Registry<Drafter>::guard(const PluginStrategy& who, std::unique_ptr<Drafter> strategy);
/// @endcond

}  // namespace foretell
