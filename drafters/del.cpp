// The target drafts with its first layers, as many and for as many tokens as promise most (DEL, Zarch et al. 2025,
// arXiv 2504.05598).
//
// Of every row that is scored the head is applied to the states behind each candidate layer, too: what would it have
// drafted? Agreements with the target are counted, older rounds for `omega` of the newer ones, over the rows up to the
// first mismatch; of a prompt over its last 32 rows. With the rate a of a layer l of L, a draft of j tokens makes
// G = 1 + a + ... + a^j tokens of (j + 1) l + L - l layers; the layer and the length with the most tokens a layer are
// the next round's, and a length of 0 is plain decoding. One choice serves all sequences of a batch.
//
// Costs the head over the vocabulary for each candidate layer and scored row; `layers` keeps that small. Deviation: the
// paper also ends a draft below a confidence that it learns; here the policy `confidence` may.
#include <algorithm>
#include <numeric>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/self_drafter.h"
#include "framework/exits/depth_choice.h"

namespace foretell::drafters {
namespace {

struct DelOptions {
  std::vector<int> layers;
  double omega = 0.95;
  int most = 18;
  Location where = {};
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    where = p.where();
    p.add("layers", layers, "behind which layers a draft may end, as [2, 4, 8]; none: behind all but the last",
          {.min = 1, .max = 4096});
    p.add("omega", omega, "what a round counts beside the next one", {.min = 0.0, .max = 1.0});
    p.add("gamma_max", most, "drafted tokens at most", {.min = 1, .max = 256});
    cache.declare(p);
    draft.declare(p);
  }
};

// Leaves at a layer that changes between drafts.
class MovingExit final : public ExitPolicy {
 public:
  explicit MovingExit(std::vector<int> layers) : layers_(std::move(layers)), layer_(layers_.front()) {}
  void leave_at(int layer) { layer_ = layer; }
  std::vector<int> layers(int) const override { return layers_; }
  ExitWants wants() const override { return {}; }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    std::fill(leaves.begin(), leaves.end(), probe.layer == layer_ ? 1 : 0);
  }

 private:
  std::vector<int> layers_;
  int layer_;
};

class DelDrafter final : public bases::SelfDrafter {
 public:
  using Options = DelOptions;
  DelDrafter(const Options& options, const BuildContext& context)
      : DelDrafter(options, context, std::make_shared<MovingExit>(candidates(options, context))) {}

  DraftBudget limits() const override {
    DraftBudget limits = bases::SelfDrafter::limits();
    limits.depth = limits.nodes = most_;
    return limits;
  }
  HiddenStateRequest required_hidden_states() const override { return {.aux_states = layers_, .final_state = true}; }

  void observe_prompt(SlotId slot, const PromptChunk& chunk) override {
    constexpr int kRows = 32;
    bases::SelfDrafter::observe_prompt(slot, chunk);
    if (chunk.hidden == nullptr || chunk.tokens.empty()) return;
    const auto [right, rows] = newest_agreements(*chunk.hidden, kRows);
    choice_.add(right, rows);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    const exits::DepthChoice::Best best = choice_.best();
    exit_->leave_at(best.layer);
    std::vector<DraftContext> shorter(batch.begin(), batch.end());
    for (DraftContext& context : shorter) {
      context.budget.depth = std::min(context.budget.depth, best.tokens);
      context.budget.nodes = std::min(context.budget.nodes, best.tokens);
    }
    return bases::SelfDrafter::draft(shorter);
  }

  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds) {
      const model::HiddenStates* hidden = round.scores.hidden();
      FORETELL_CHECK(hidden, "scores of {} nodes without the states that were asked for", round.draft.size());
      std::vector<NodeId> nodes{kAnchor};
      nodes.insert(nodes.end(), round.verdict.accepted.begin(), round.verdict.accepted.end());
      choice_.add(agreements(*hidden, nodes), static_cast<int>(nodes.size()));
    }
    bases::SelfDrafter::observe(rounds);
  }

 private:
  DelDrafter(const Options& options, const BuildContext& context, const std::shared_ptr<MovingExit>& exit)
      : bases::SelfDrafter(decoding::ForwardRules{.exits = {.policy = exit}}, options.cache, options.draft, context,
                           "del"),
        exit_(exit),
        layers_(exit->layers(0)),
        most_(options.draft.num_speculative_tokens.value_or(options.most)),
        choice_(layers_, context.target->config().num_layers, options.omega, most_) {
    if (options.draft.names_tree())
      fail_at(options.draft.where, "del: a tree has no single length to choose: expected a chain");
  }

  static std::vector<int> candidates(const Options& options, const BuildContext& context) {
    if (!context.target || !context.target->parts())
      fail_at(options.where, "drafter 'del' drafts with the target's own layers: it needs a transformer as target");
    const int num_layers = context.target->config().num_layers;
    std::vector<int> layers = options.layers;
    if (layers.empty()) {
      layers.resize(static_cast<std::size_t>(std::max(num_layers - 1, 0)));
      std::iota(layers.begin(), layers.end(), 1);
    }
    if (layers.empty() || layers.back() >= num_layers ||
        std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>()) != layers.end())
      fail_at(options.where, "del: layers: expected increasing numbers from 1 to {}, the model has {}", num_layers - 1,
              counted(num_layers, "layer"));
    return layers;
  }

  std::shared_ptr<MovingExit> exit_;
  std::vector<int> layers_;
  int most_;
  exits::DepthChoice choice_;
};

FORETELL_REGISTER(
    Drafter, DelDrafter, "del",
    {.summary = "the target drafts with its first layers; how many, and how many tokens, is chosen each round",
     .stateful = true,
     .paper = {"Zarch et al.", 2025, "2504.05598"},
     .also_known_as = {"DEL"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

}  // namespace
}  // namespace foretell::drafters
