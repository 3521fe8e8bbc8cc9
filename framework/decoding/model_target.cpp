#include "framework/decoding/model_target.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/host_logits.h"
#include "framework/decoding/model_scores.h"
#include "framework/decoding/model_target_session.h"
#include "framework/model/hidden.h"

namespace foretell::decoding {
namespace {

class TargetScores final : public ModelScores {
 public:
  TargetScores(const ScoreRequest& request, std::shared_ptr<HostLogits> logits, std::vector<int> rows,
               model::HiddenStates hidden)
      : ModelScores(request.draft, request.sampler, request.context, std::move(logits), std::move(rows)),
        hidden_(std::move(hidden)) {}
  const model::HiddenStates* hidden() const override {
    return hidden_.taps.empty() && !hidden_.final_state.defined() ? nullptr : &hidden_;
  }

 private:
  model::HiddenStates hidden_;
};

class ModelTarget final : public Target {
 public:
  ModelTarget(std::shared_ptr<const model::LanguageModel> model, const ModelTargetOptions& options)
      : model_(std::move(model)), options_(options) {}

  int vocab() const override { return model_->config().vocab_size; }

  std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenRequest& wants) override {
    const formats::ModelConfig& config = model_->config();
    const auto length = static_cast<int>(request.prompt.size());
    if (length > config.context)
      fail("request {}: the prompt has {}, the model's context ends at {}", request.id, counted(length, "token"),
           config.context);
    for (const Token token : request.prompt)
      if (token < 0 || token >= config.vocab_size)
        fail("request {}: token {} of the prompt is outside the model's vocabulary of {} tokens", request.id, token,
             config.vocab_size);
    const int reach =
        static_cast<int>(std::min<std::int64_t>(std::int64_t{length} + request.max_new_tokens, config.context));
    return std::make_unique<ModelTargetSession>(*model_, reach + rows, options_.prefill_chunk, options_.rules, wants);
  }

  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<model::ForwardItem> items;
    for (const ScoreRequest& request : batch) {
      session(request).begin_scoring(request.draft);
      items.push_back(session(request).item());
    }
    const HiddenRequest& wants = session(batch.front()).wants();  // the pipeline's: equal for all
    model::ForwardOptions options;
    options.taps = wants.taps;
    options.tap_final = wants.final_state;
    options_.rules.apply(options);
    const model::LanguageModel& scoring = options_.rules.int8 ? *options_.rules.int8 : *model_;
    const model::ForwardResult result = scoring.forward(items, options);

    const auto logits = std::make_shared<HostLogits>(result.logits);
    std::vector<std::unique_ptr<Scores>> out;
    int first = 0;
    for (const ScoreRequest& request : batch) {
      const ModelTargetSession& s = session(request);
      std::vector<int> rows = s.row_of_node();
      for (int& row : rows) row += first;
      out.push_back(std::make_unique<TargetScores>(request, logits, std::move(rows), s.hidden(result, first)));
      first += static_cast<int>(s.row_of_node().size());
    }
    return out;
  }

 private:
  static ModelTargetSession& session(const ScoreRequest& request) {
    return static_cast<ModelTargetSession&>(request.session);
  }

  std::shared_ptr<const model::LanguageModel> model_;
  ModelTargetOptions options_;
};

}  // namespace

std::unique_ptr<Target> make_model_target(std::shared_ptr<const model::LanguageModel> model,
                                          const ModelTargetOptions& options) {
  return std::make_unique<ModelTarget>(std::move(model), options);
}

}  // namespace foretell::decoding
