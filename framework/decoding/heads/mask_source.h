// A draft model with mask tokens as the source of a draft's levels (PARD): one forward answers all of them.
//
// Contract: a sequence has a cache of its own, with rows of committed text alone: masks are dropped behind every draft.
// At depth 1 the text that is missing goes through the model, and a mask for each further level that the budget allows;
// the levels share these rows, whatever the path. So a draft is a function of the committed text, and its levels are
// independent of each other. All sequences of the batch go through one forward.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "framework/decoding/bases/level_source.h"
#include "framework/decoding/heads/state_reader.h"
#include "framework/model/heads/mask_draft.h"

namespace foretell::decoding::heads {

class MaskSource final : public bases::LevelSource {
 public:
  explicit MaskSource(model::heads::MaskDraft draft) : draft_(std::move(draft)), reader_(draft_.layers) {}

  HiddenStateRequest required_hidden_states() const override { return reader_.request(); }
  int deepest() const override { return kDeepest; }
  bool rewinds() const override { return !draft_.projects; }
  void begin(SlotId slot, const PromptView& prompt, int most_nodes) override;
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override;
  void observe(std::span<const RoundView> rounds) override;
  void end(SlotId slot) override { sequences_.erase(slot); }
  bases::LevelRows level(std::span<const bases::LevelRequest> batch, int depth) override;

  static constexpr int kDeepest = 64;

 private:
  struct Sequence {
    std::unique_ptr<model::KvCache> cache;
    Tokens held = {};           // whose rows the cache has
    at::Tensor added = {};      // with a projection: of the rows behind them, [rows, hidden]
    int first = 0, levels = 0;  // of this draft: its first row of logits, and how many there are
  };

  bool start(Sequence& sequence, const DraftContext& context, std::vector<model::ForwardItem>& items,
             std::vector<Tokens>& texts);
  void prefill(Sequence& sequence, TokenSpan missing);
  model::ForwardItem item(Sequence& sequence, TokenSpan tokens, int masks, model::LogitRows logits) const;
  void add_states(Sequence& sequence, const at::Tensor& states) const;

  model::heads::MaskDraft draft_;
  StateReader reader_;
  std::map<SlotId, Sequence> sequences_;
  HostLogits logits_;  // of the batch that is drafted
};

}  // namespace foretell::decoding::heads
