#include "framework/decoding/model_target.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/expert_use.h"
#include "framework/decoding/host_logits.h"
#include "framework/decoding/model_scores.h"
#include "framework/decoding/model_target_session.h"
#include "framework/model/hidden.h"

namespace foretell::decoding {
namespace {

class TargetScores final : public ModelScores {
 public:
  TargetScores(const ScoreRequest& request, std::shared_ptr<HostLogits> logits, std::vector<int> rows,
               model::HiddenStates hidden, std::optional<StepWork> work, std::optional<ExpertUse> experts)
      : ModelScores(request.draft, request.sampler, request.context, std::move(logits), std::move(rows)),
        hidden_(std::move(hidden)),
        work_(work),
        experts_(std::move(experts)) {}
  std::optional<StepWork> work() const override { return work_; }
  std::optional<ExpertUse> experts() const override { return experts_; }
  const model::HiddenStates* hidden() const override {
    return hidden_.aux_states.empty() && !hidden_.final_state.defined() ? nullptr : &hidden_;
  }

 private:
  model::HiddenStates hidden_;
  std::optional<StepWork> work_;
  std::optional<ExpertUse> experts_;
};

// Of `owed` and then `count` rows from `first` on.
StepWork work_of(const model::ForwardResult& result, int first, int owed, int count, int num_layers) {
  StepWork work;
  for (int row = first; row < first + owed + count; ++row) {
    const auto at = static_cast<std::size_t>(row);
    work.layers += result.work[at].layers;
    work.experts += result.work[at].experts;
    work.attended += result.work[at].attended;
    work.probes += result.probes[at];
    if (row < first + owed)
      work.recomputed += result.work[at].layers > 0 ? 1 : 0;
    else
      work.left_early += result.left[at] < num_layers ? 1 : 0;
  }
  return work;
}

class ModelTarget final : public Target {
 public:
  ModelTarget(std::shared_ptr<const model::LanguageModel> model, const ModelTargetOptions& options)
      : model_(std::move(model)), options_(options) {}

  int vocab() const override { return model_->config().vocab_size; }

  std::unique_ptr<TargetSession> open(const Request& request, int rows, const HiddenStateRequest& wants) override {
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
    return std::make_unique<ModelTargetSession>(*model_, request, reach + rows, options_.prefill_chunk, options_.rules,
                                                wants);
  }

  std::vector<std::unique_ptr<Scores>> score(std::span<const ScoreRequest> batch) override {
    std::vector<model::ForwardItem> items;
    for (const ScoreRequest& request : batch) {
      session(request).begin_scoring(request.draft);
      items.push_back(session(request).item());
      model::ItemExit& exit = items.back().exit;
      exit.generated = static_cast<int>(request.context.generated.size());
      exit.finish = exit.owed + request.draft.size() > options_.rules.exits.max_pending;
    }
    const HiddenStateRequest& wants = session(batch.front()).required_hidden_states();  // the pipeline's: equal for all
    model::ForwardOptions options;
    options.aux_states = wants.aux_states;
    options.return_final_state = wants.final_state;
    options_.rules.apply(options);
    const ExitSettings& exits = options_.rules.exits;
    const model::ExitRules rules{exits.policy.get(), exits.heads.get(), exits.kv};
    if (rules.policy) options.exits = &rules;
    options.count_work = !options_.rules.own() && !options_.rules.attention;  // a policy's choice is not counted
    options.trace_experts = true;
    options.return_last_state = rules.policy && rules.kv == KvRule::Recompute;
    const model::ForwardResult result = options_.rules.model_of(*model_).forward(items, options);

    const auto logits = std::make_shared<HostLogits>(result.logits);
    std::vector<std::unique_ptr<Scores>> out;
    int first = 0, first_logits = 0;  // owed rows have no logits
    for (std::size_t i = 0; i < batch.size(); ++i) {
      ModelTargetSession& s = session(batch[i]);
      const int owed = items[i].exit.owed, count = batch[i].draft.size();
      std::vector<int> rows = s.row_of_node();
      for (int& row : rows) row += first_logits - owed;
      const auto work = !result.work.empty()
                            ? std::optional(work_of(result, first, owed, count, model_->config().num_layers))
                            : std::nullopt;
      out.push_back(std::make_unique<TargetScores>(
          batch[i], logits, std::move(rows), s.hidden(result, first), work,
          expert_use(result, model_->config().moe.routed(), static_cast<int>(batch.size()), first, s.row_parents())));
      if (options.return_last_state) s.take_scored(result, first);
      first += owed + count;
      first_logits += count;
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
