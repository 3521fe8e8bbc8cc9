// A model that pipelines are certified on: its distributions are known without the loop.
//
// Contract: made by std::make_shared; const and for one thread, since what is looked at is remembered. Two kinds: a
// table (toy_model.h), exact and cheap enough to walk every branch, and a transformer with random weights
// (real_model.h), for what a table does not have: hidden states, an embedding and a head to lend, layers, experts.
#pragma once

#include <memory>
#include <vector>

#include "framework/model/language_model.h"

namespace foretell::certify {

class KnownModel : public model::LanguageModel, public std::enable_shared_from_this<KnownModel> {
 public:
  // The logits after a text, without sessions, trees or batches. [vocab]
  virtual std::vector<float> logits_after(TokenSpan text) const = 0;
  // A draft model that agrees with this one on most tokens, and another one.
  virtual std::shared_ptr<const model::LanguageModel> draft(bool other) const = 0;
  // The total variation that rounding alone may cause.
  virtual double rounding() const = 0;
};

}  // namespace foretell::certify
