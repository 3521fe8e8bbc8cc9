// What a learned drafter computes of one text, for comparing with another engine: what it reads, and the logits of its
// first forward.
//
// Contract: `text` is committed, its last token the root of the draft. The target's states are given by who asks, so
// that the same weights can be run on another engine's. Rows are those of the drafter's first forward from an empty
// cache: of a block head (dflash, dflash2, dspark) the block's slots, behind the text's keys; of a layer on states
// (eagle, mtp) a row for each pair; of a model with masks (pard) the text and the masks.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/model/language_model.h"

namespace foretell::decoding::heads {

struct DraftTrace {
  Tokens ids = {};
  std::vector<int> positions = {};
  at::Tensor mask;    // bool [rows, keys]: of the first layer; keys of the text first, then the rows' own
  at::Tensor logits;  // float32 [rows that speak, vocab]: the last ones, not corrected by the tokens before
};

class DraftTracer {
 public:
  virtual ~DraftTracer() = default;
  // Of the target's states (state_places.h), side by side; empty: none is read.
  virtual std::vector<int> places() const = 0;
  // `states` [text - 1, places * hidden]; `drafted`: how many tokens are asked for, where the drafter leaves it open.
  virtual DraftTrace trace(TokenSpan text, const at::Tensor& states, int drafted) const = 0;
};

// An Error for a drafter that cannot be traced, which lists those that can.
std::unique_ptr<DraftTracer> make_tracer(const std::string& drafter, const std::filesystem::path& head,
                                         const std::shared_ptr<const model::LanguageModel>& target);
std::vector<std::string> traced_drafters();

// The target's states of a text but for its last token: the embeddings, behind each layer, and the final one, in this
// order. [text - 1, hidden] each.
std::vector<at::Tensor> all_states(const model::LanguageModel& target, TokenSpan text);

}  // namespace foretell::decoding::heads
