// Drafting for the drafter: a cheaper drafter drafts for a draft model, whose verified tokens are drafted for the
// target (Chen et al. 2023, arXiv 2312.11462; Sun et al. 2024, arXiv 2404.11912).
//
// Inside, the lossless rejection rule runs with its residual, so the tokens come out with exactly the draft model's
// distribution, and that is the distribution they are proposed with. Released code reports the model's distribution but
// draws otherwise after a rejection, which biases the output. The depth is fixed: tokens that a last inner round emits
// beyond it are dropped whatever they are.
#include <algorithm>
#include <map>
#include <numeric>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/decoding/bases/composite_drafter.h"
#include "framework/decoding/bases/model_drafter.h"
#include "framework/decoding/model_scores.h"

namespace foretell::drafters {
namespace {

constexpr int kCascadeChunk = 512;

struct CascadeOptions {
  std::string model;
  ConfigValue drafter = parse_yaml("{type: prompt_lookup, whole_continuation: false}", "default");
  int num_speculative_tokens = 4;
  void declare(Parameters& p) {
    p.add("model", model, "folder of the draft checkpoint; empty: the study's model.draft",
          {.aliases = {"draft_model", "assistant_model"}});
    p.add("drafter", drafter,
          "who drafts for it: {type: model, model: smaller}, {type: prompt_lookup}, another cascade");
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted for the target a round",
          {.min = 1, .max = 4096});
  }
};

// The inner drafter is bounded by its budget alone.
class WholeBudget final : public DraftPolicy {
 public:
  void plan(std::span<const PolicyView>, std::span<DraftBudget>) override {}
};

class CascadeDrafter final : public Drafter {
 public:
  using Options = CascadeOptions;
  CascadeDrafter(const Options& options, const BuildContext& context)
      : depth_(options.num_speculative_tokens), model_(bases::load_draft(options.model, context, "cascade")) {
    BuildContext inside = context;
    inside.tree.reset();
    inner_ = bases::make_member(options.drafter, inside, MemberUse::VerifiedInside);
    if (!inner_->traits().rewinds)
      fail_at(options.drafter.where(),
              "cascade: this drafter cannot take back what the target rejects: expected 'model', 'prompt_lookup' or "
              "what is made of them");
    verifier_ = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), inside);
  }

  DraftBudget limits() const override { return {depth_, depth_, 1}; }
  DraftForm form() const override { return {.point_mass = true, .without_replacement = true}; }
  HiddenStateRequest required_hidden_states() const override { return inner_->required_hidden_states(); }
  DrafterTraits traits() const override { return {.needs_logits = inner_->traits().needs_logits, .rewinds = true}; }
  void check(const Request& request) const override { inner_->check(request); }

  void begin(SlotId slot, const PromptView& prompt) override {
    inner_->begin(slot, prompt);
    const int context = model_->config().context;
    const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens + depth_;
    sessions_.erase(slot);
    sessions_.try_emplace(slot, *model_,
                          static_cast<int>(std::min<std::int64_t>(reach, context)) + inner_->limits().nodes + 1);
  }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override { inner_->observe_prompt(slot, chunk); }
  void observe(std::span<const RoundView> rounds) override { inner_->observe(rounds); }
  void end(SlotId slot) override {
    inner_->end(slot);
    sessions_.erase(slot);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<Line> lines;
    lines.reserve(batch.size());
    for (const DraftContext& context : batch) {
      lines.push_back({context, sessions_.at(context.slot), DraftTree(context.committed.back()),
                       Tokens(context.committed.begin(), context.committed.end())});
    }
    std::vector<Line*> active;
    for (Line& line : lines)
      if (goes_on(line)) active.push_back(&line);
    while (!active.empty()) {
      round(active);
      std::erase_if(active, [&](Line* line) { return !goes_on(*line); });
    }
    std::vector<DraftTree> drafts;
    drafts.reserve(lines.size());
    for (Line& line : lines) drafts.push_back(std::move(line.outer));
    return drafts;
  }

 private:
  // One sequence's draft for the target while it grows.
  struct Line {
    const DraftContext& context;
    bases::ModelSession& session;
    DraftTree outer;
    Tokens text;  // committed, and what has been drafted for the target
    NodeId at = kAnchor;

    int room() const { return std::min(context.budget.depth, context.budget.nodes) - outer.depth(); }
  };

  // Asked between inner rounds, so what was drawn so far decides about what is drawn next and about nothing else.
  bool goes_on(const Line& line) const {
    if (line.room() <= 0 || static_cast<int>(line.text.size()) > model_->config().context) return false;
    return line.context.policy.should_continue({line.context.slot, line.outer.depth() + 1, nullptr, 1.0, 1.0});
  }

  std::vector<DraftTree> inner_drafts(std::span<Line* const> active) {
    std::vector<DraftContext> contexts;
    for (Line* line : active) {
      // The draft model adds a token of its own, and its positions end somewhere.
      const int positions = model_->config().context - static_cast<int>(line->text.size());
      const DraftBudget limits = inner_->limits();
      const int depth = std::max(0, std::min({limits.depth, line->room() - 1, positions}));
      contexts.push_back({line->context.slot,
                          line->context.request,
                          line->context.sampler,
                          line->text,
                          {depth > 0 ? limits.nodes : 0, depth, limits.width},
                          line->context.rng,
                          whole_budget_,
                          nullptr,
                          line->context.vocab});
    }
    return inner_->draft(contexts);
  }

  void round(std::span<Line* const> active) {
    const std::vector<DraftTree> drafts = inner_drafts(active);
    std::vector<model::ForwardItem> items;
    std::vector<int> anchors;
    int rows = 0;
    for (std::size_t i = 0; i < active.size(); ++i) {
      bases::ModelSession& session = active[i]->session;
      const TokenSpan text = active[i]->text;
      TokenSpan missing = text.subspan(static_cast<std::size_t>(session.align(text)));
      for (; missing.size() > kCascadeChunk; missing = missing.subspan(kCascadeChunk))
        model_->forward(session.extend(missing.first(kCascadeChunk), model::LogitRows::None));
      const auto nodes = drafts[i].nodes().subspan(1);
      items.push_back(session.extend_and_grow(missing, nodes));
      anchors.push_back(rows + static_cast<int>(missing.size()) - 1);
      rows += static_cast<int>(missing.size() + nodes.size());
    }
    const auto logits = std::make_shared<decoding::HostLogits>(model_->forward(items, {}).logits);
    for (std::size_t i = 0; i < active.size(); ++i) take(*active[i], drafts[i], logits, anchors[i]);
  }

  // Verifies the inner draft and proposes what came out.
  void take(Line& line, const DraftTree& draft, const std::shared_ptr<decoding::HostLogits>& logits, int anchor) const {
    std::vector<int> rows(static_cast<std::size_t>(draft.size()));
    std::iota(rows.begin(), rows.end(), anchor);
    const TokenSpan written = TokenSpan(line.text).subspan(line.context.request.prompt.size());
    decoding::ModelScores scores(draft, line.context.sampler, {line.context.request.prompt, written, {}}, logits, rows);
    const Verdict verdict = verifier_->verify(draft, scores, line.context.rng);
    Tokens tokens;
    std::vector<Distribution> distributions;
    NodeId at = kAnchor;
    for (const NodeId node : verdict.accepted) {
      distributions.push_back(scores.distribution(at));
      tokens.push_back(draft.node(node).token);
      at = node;
    }
    distributions.push_back(scores.distribution(at));
    tokens.push_back(verdict.next);
    for (std::size_t i = 0; i < tokens.size() && line.room() > 0; ++i) {
      line.at = distributions[i].is_point_mass()
                    ? line.outer.choose(line.at, tokens[i], line.context.vocab)
                    : line.outer.propose(line.at, tokens[i],
                                         line.outer.add_distribution(distributions[i], Draws::WithoutReplacement));
      line.text.push_back(tokens[i]);
    }
  }

  int depth_;
  std::shared_ptr<const model::LanguageModel> model_;
  std::unique_ptr<Drafter> inner_;
  std::unique_ptr<Verifier> verifier_;
  WholeBudget whole_budget_;
  std::map<SlotId, bases::ModelSession> sessions_;
};

FORETELL_REGISTER(Drafter, CascadeDrafter, "cascade",
                  {.summary = "a cheaper drafter drafts for the draft model",
                   .paper = {"Chen et al.", 2023, "2312.11462"},
                   .also_known_as = {"CS Drafting", "Cascade Speculative Drafting", "TriForce"},
                   .taxonomy = {.xia2024 = "independent drafting: cascaded LMs"}});

}  // namespace
}  // namespace foretell::drafters
