// The target drafts for itself under other rules than it is scored under (framework/decoding/forward_rules.h).
//
// `layers`: sublayers are left out (Draft & Verify, Zhang et al. 2023, arXiv 2309.08168; which ones is given here, and
// searched for in swift.cpp). `router`: fewer experts of a mixture. `attention`: a part of the cache is in sight
// (MagicDec, Chen et al. 2024, arXiv 2408.11049, with StreamingLLM; TriForce's retrieval is not here). `weights`: the
// target's rounded to 8 bits (QuantSpec, Tiwari et al. 2025, arXiv 2502.10424, which takes 4 bits and quantises the
// cache, too) or to 4 (QSpec, Zhao et al. 2024, arXiv 2410.11305). `exit`: rows of the draft leave early (LayerSkip,
// Elhoushi et al. 2024, arXiv 2404.16710, with fixed_layer). Whatever the rules are, drafts are verified by the target:
// the output keeps its distribution.
//
// Costs, in plain steps of the target. weights: int8 reads half of what bf16 does, so a draft step costs a little more
// than a half; with acceptance a and n drafted tokens a round emits (1 - a^(n+1)) / (1 - a) tokens for n/2 steps and
// one scoring. attention: with W bytes of weights, B sequences and n and s rows of k bytes that full and sparse
// attention see, (W + B s k) / (W + B n k), which pays where the cache is a large part of what a forward reads: long
// texts, many sequences. layers: about the share of the bytes that is left. exit: likewise, and on the target's cache
// scoring goes on where rows left, so that drafting costs its heads alone. The rules save reads, not memory. There is
// no second checkpoint; rounded weights are a second copy of the matrices.
//
// Deviation from MagicDec: it drafts on a small cache of a fixed size; here the rows that are seen are gathered out of
// the large one in every layer and step. From QSpec: there drafts round activations to 4 bits and both read the same
// 4-bit weights; here drafts read 4-bit weights that were rounded from those the target is scored with, whatever these
// are, because on a CPU the bytes of the weights are the cost of a step.
#include <algorithm>
#include <numeric>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/self_drafter.h"
#include "framework/exits/depth_choice.h"

namespace foretell::drafters {
namespace {

class SelfModelDrafter final : public bases::SelfDrafter {
 public:
  using Options = bases::SelfDraftOptions;
  SelfModelDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter(options, context, "self") {}
};

FORETELL_REGISTER(
    Drafter, SelfModelDrafter, "self",
    {.summary = "the target drafts for itself: fewer layers or experts, early exit, part of the cache, rounded weights",
     .paper = {"Zhang et al.", 2023, "2309.08168"},
     .also_known_as = {"self-speculative decoding"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"}});

// `self` with `int8: true`.
struct QuantisedSelfOptions {
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    cache.declare(p);
    draft.declare(p);
  }
};

class QuantisedSelfDrafter final : public bases::SelfDrafter {
 public:
  using Options = QuantisedSelfOptions;
  QuantisedSelfDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter(
            {.rules = {.int8 = true, .where = options.cache.where}, .cache = options.cache, .draft = options.draft},
            context, "quantised_self") {}
};

FORETELL_REGISTER(
    Drafter, QuantisedSelfDrafter, "quantised_self",
    {.summary = "the target drafts with its own weights rounded to 8 bits",
     .paper = {"Tiwari et al.", 2025, "2502.10424"},
     .also_known_as = {"QuantSpec"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` with `weights`, 4 bits where nothing is said.
struct QspecOptions {
  std::string weights = "int4";
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("weights", weights, "what the draft's weights are rounded to: int4[:GROUP], int4z[:GROUP] or int8");
    cache.declare(p);
    draft.declare(p);
  }
};

class QspecDrafter final : public bases::SelfDrafter {
 public:
  using Options = QspecOptions;
  QspecDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.weights = options.weights, .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "qspec") {}
};

FORETELL_REGISTER(
    Drafter, QspecDrafter, "qspec",
    {.summary = "the target drafts with its own weights rounded to 4 bits, on the cache it is scored with",
     .paper = {"Zhao et al.", 2024, "2410.11305"},
     .also_known_as = {"QSpec"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` with an attention policy.
struct SparseCacheOptions {
  ConfigValue attention = parse_yaml("{type: streaming}", "default");
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("attention", attention,
          "which rows of the cache a draft sees: {type: streaming, sinks: 4, window: 256}, {type: h2o}");
    cache.declare(p);
    draft.declare(p);
  }
};

class SparseCacheDrafter final : public bases::SelfDrafter {
 public:
  using Options = SparseCacheOptions;
  SparseCacheDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.attention = options.attention, .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "sparse_cache") {}
};

FORETELL_REGISTER(
    Drafter, SparseCacheDrafter, "sparse_cache",
    {.summary = "the target drafts with a part of its cache in sight (StreamingLLM, H2O)",
     .paper = {"Chen et al.", 2024, "2408.11049"},
     .also_known_as = {"MagicDec"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` with a router of fewer experts.
struct FewerExpertsOptions {
  std::optional<int> k;
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row of the draft goes through; none: half of the target's, rounded up",
          {.min = 1, .max = 1 << 16, .aliases = {"top_k", "num_experts_per_tok"}});
    cache.declare(p);
    draft.declare(p);
  }
};

ConfigValue fewer_experts(const FewerExpertsOptions& options, const BuildContext& context) {
  const Location& where = options.cache.where;
  const int own = bases::experts_per_token(context);
  if (context.target && own == 0)
    fail_at(where, "drafter 'fewer_experts': this model has no experts; expected a mixture of experts");
  const int k = options.k.value_or((own + 1) / 2);
  return ConfigValue::map({{"type", ConfigValue::scalar("top_k", where), where},
                           {"k", ConfigValue::scalar(fmt::format("{}", k), where), where}},
                          where);
}

class FewerExpertsDrafter final : public bases::SelfDrafter {
 public:
  using Options = FewerExpertsOptions;
  FewerExpertsDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.router = fewer_experts(options, context), .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "fewer_experts") {}
};

FORETELL_REGISTER(
    Drafter, FewerExpertsDrafter, "fewer_experts",
    {.summary = "the target drafts with fewer experts a row than it is scored with",
     .paper = {"Zhang et al.", 2023, "2309.08168"},
     .also_known_as = {"reduced-expert self-drafting"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` with one exit for all rows, at a depth that a LayerSkip model is trained for.
struct LayerSkipDraftOptions {
  std::optional<int> exit_layer;
  std::optional<std::string> heads;
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("exit_layer", exit_layer, "layers that a draft goes through; none: a quarter of them",
          {.min = 1, .max = 4096, .aliases = {"early_exit"}});
    p.add("heads", heads, "what answers there: own, or a folder of trained heads; none: own");
    cache.declare(p);
    draft.declare(p);
  }
};

// {type: `policy`, layer: `layer`}
ConfigValue exit_at(const char* policy, std::optional<int> layer) {
  ConfigValue exit = ConfigValue::map({{"type", ConfigValue::scalar(policy), {}}});
  if (layer) exit.set("layer", ConfigValue::scalar(fmt::format("{}", *layer)));
  return exit;
}

// The layer that is named, else this share of the target's.
int layer_or_share(std::optional<int> layer, const BuildContext& context, int of) {
  return layer.value_or(context.target ? std::max(context.target->config().num_layers / of, 1) : 1);
}

class LayerSkipDrafter final : public bases::SelfDrafter {
 public:
  using Options = LayerSkipDraftOptions;
  LayerSkipDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.exit = exit_at("fixed_layer", layer_or_share(options.exit_layer, context, 4)),
                                      .heads = options.heads,
                                      .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "layerskip") {}
};

FORETELL_REGISTER(
    Drafter, LayerSkipDrafter, "layerskip",
    {.summary = "the target drafts with its first layers, and scoring goes on where they ended",
     .paper = {"Elhoushi et al.", 2024, "2404.16710"},
     .also_known_as = {"LayerSkip"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` without some sublayers.
struct DraftVerifyOptions {
  ConfigValue layers = parse_yaml("{speedup: 2}", "default");
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("layers", layers,
          "sublayers that are left out: {skip_attention: [..], skip_mlp: [..]}, {file: sets.json, set: NAME}, or "
          "{speedup: 2}, evenly spread layers");
    cache.declare(p);
    draft.declare(p);
  }
};

class DraftVerifyDrafter final : public bases::SelfDrafter {
 public:
  using Options = DraftVerifyOptions;
  DraftVerifyDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.layers = options.layers, .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "draft_verify") {}
};

FORETELL_REGISTER(
    Drafter, DraftVerifyDrafter, "draft_verify",
    {.summary = "the target drafts for itself without some of its sublayers",
     .paper = {"Zhang et al.", 2023, "2309.08168"},
     .also_known_as = {"Self-SD"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

// `self` with the exit policy `free`, rows that left waiting for the next one that goes deeper.
struct FreeDraftOptions {
  std::optional<int> layer;
  double threshold = 0.9;
  int max_pending = 32;
  bases::DraftCacheOption cache;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("layer", layer, "the shallow exit; none: behind a third of the layers", {.min = 1, .max = 4096});
    p.add("threshold", threshold, "the confidence that a row leaves at, at first", {.min = 0, .max = 1});
    p.add("max_pending", max_pending, "rows that may wait", {.min = 0, .max = 1 << 20});
    cache.declare(p);
    draft.declare(p);
  }
};

class FreeDrafter final : public bases::SelfDrafter {
 public:
  using Options = FreeDraftOptions;
  FreeDrafter(const Options& options, const BuildContext& context)
      : bases::SelfDrafter({.rules = {.exit = exit_of(options),
                                      .kv = "recompute",
                                      .max_pending = options.max_pending,
                                      .where = options.cache.where},
                            .cache = options.cache,
                            .draft = options.draft},
                           context, "free") {}

 private:
  static ConfigValue exit_of(const Options& options) {
    ConfigValue exit = exit_at("free", options.layer);
    exit.set("threshold", ConfigValue::scalar(fmt::format("{}", options.threshold)));
    return exit;
  }
};

FORETELL_REGISTER(
    Drafter, FreeDrafter, "free",
    {.summary = "the target drafts with a shallow exit where it is sure, and with all layers where it is not",
     .stateful = true,
     .paper = {"Bae et al.", 2023, "2310.05424"},
     .also_known_as = {"FREE"},
     .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model", .xia2024 = "self-drafting"},
     .preset_of = "self"});

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
