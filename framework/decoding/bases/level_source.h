// Who gives the logits behind a level of a draft: a draft model, heads on the target's states, the target itself under
// other rules. What is drawn from them, and which shape the draft takes, is LevelDrafter's business.
//
// Contract: level() is called with depth 1, 2, ... for the drafts of a batch, each time for those that still grow. At
// depth 1 the frontier is the anchor; later it is what the level before has added, as far as it is looked at further.
// The answer has a row of logits for each frontier node, or none where nothing can follow it (a context that is full).
// Sequences are told from one another by their slot. Caches and states are brought into step with `committed` at depth
// 1, so a source that is not asked costs nothing; where rewinds() is true, `committed` may have lost tokens since.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "framework/api/drafter.h"
#include "framework/decoding/host_logits.h"

namespace foretell::bases {

struct LevelRequest {
  const DraftContext& context;
  const DraftTree& tree;             // so far, in the target's tokens
  std::span<const NodeId> frontier;  // nodes that may get children
};

struct LevelRows {
  static constexpr int kNone = -1;
  decoding::HostLogits logits = {};
  // By frontier node of all requests, in their order, its row of logits; kNone: nothing can follow. Nodes may share a
  // row: heads that do not see the path have one a depth (Medusa).
  std::vector<int> row_of = {};
  // [rows of logits, width] float32 on the host: what the head read. Defined where a policy of the batch wants hidden
  // states and the source has some.
  at::Tensor states = {};
};

class LevelSource {
 public:
  virtual ~LevelSource() = default;
  virtual HiddenStateRequest required_hidden_states() const { return {}; }
  // The deepest level that it answers: as many heads as there are, a block's length; a model has no end.
  virtual int deepest() const = 0;
  virtual bool rewinds() const = 0;
  // By id of its logits the target's id of that token, -1 where the target has none. Empty: the ids are the target's.
  virtual std::span<const Token> target_ids() const { return {}; }
  // `most_nodes`: that a draft has before it is cut to its budget.
  virtual void begin(SlotId slot, const PromptView& prompt, int most_nodes) = 0;
  virtual void observe_prompt(SlotId, const PromptChunk&) {}
  // What came of the levels that were asked for, in the target's tokens.
  virtual void drafted(SlotId, const DraftTree&) {}
  virtual void observe(std::span<const RoundView>) {}
  virtual void end(SlotId slot) = 0;
  virtual LevelRows level(std::span<const LevelRequest> batch, int depth) = 0;
};

}  // namespace foretell::bases
