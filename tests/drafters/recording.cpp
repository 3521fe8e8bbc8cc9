#include "tests/drafters/recording.h"

#include <ATen/core/Tensor.h>

namespace foretell::testing {
namespace {

class Recording final : public Drafter {
 public:
  Recording(std::unique_ptr<Drafter> inner, std::vector<Drafted>& out) : inner_(std::move(inner)), out_(out) {}
  DraftBudget limits() const override { return inner_->limits(); }
  DraftForm form() const override { return inner_->form(); }
  HiddenStateRequest required_hidden_states() const override { return inner_->required_hidden_states(); }
  void begin(SlotId slot, const PromptView& prompt) override { inner_->begin(slot, prompt); }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override { inner_->observe_prompt(slot, chunk); }
  void observe(std::span<const RoundView> rounds) override { inner_->observe(rounds); }
  void end(SlotId slot) override { inner_->end(slot); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts = inner_->draft(batch);
    for (std::size_t i = 0; i < drafts.size(); ++i)
      out_.push_back({Tokens(batch[i].committed.begin(), batch[i].committed.end()), drafts[i]});
    return drafts;
  }

 private:
  std::unique_ptr<Drafter> inner_;
  std::vector<Drafted>& out_;
};

}  // namespace

certify::Setup recorded(certify::Setup setup, std::vector<Drafted>& out) {
  setup.drafter = [make = setup.drafter, &out] { return std::make_unique<Recording>(make(), out); };
  return setup;
}

model::HiddenStates hidden_of(const LanguageModel& model, TokenSpan text, const HiddenStateRequest& request) {
  const auto cache = model.make_cache(static_cast<int>(text.size()));
  ForwardOptions options;
  options.aux_states = request.aux_states;
  options.return_final_state = request.final_state;
  ForwardResult result = model.forward({text, ChainShape{}, cache.get(), LogitRows::None}, options);
  return {std::move(result.aux_states), std::move(result.final_state)};
}

at::Tensor states_of(const LanguageModel& model, TokenSpan text) {
  return hidden_of(model, text, {.final_state = true}).final_state;
}

}  // namespace foretell::testing
