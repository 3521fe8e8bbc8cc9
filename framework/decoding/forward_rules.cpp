#include "framework/decoding/forward_rules.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"
#include "framework/exits/layer_sets.h"
#include "framework/exits/probe_file.h"
#include "framework/model/experts.h"
#include "framework/model/heads/exit_heads.h"
#include "framework/model/load_model.h"

namespace foretell::decoding {
namespace {

struct LayerOptions {
  std::vector<int> skip, skip_attention, skip_mlp;
  std::optional<std::string> file, set;
  std::optional<double> speedup;
  void declare(Parameters& p) {
    p.add("speedup", speedup, "evenly spread layers are left out: of L layers floor(L / speedup) stay",
          {.min = 1.0, .max = 1e3});
    p.add("file", file, "sets by name, as {NAME: {attention: [..], mlp: [..]}}, what SWIFT publishes");
    p.add("set", set, "of the file");
    p.add("skip", skip, "layers that are left out, counted from 0");
    p.add("skip_attention", skip_attention, "layers whose attention is left out");
    p.add("skip_mlp", skip_mlp, "layers whose MLP or experts are left out");
  }
};

// What a file or a rule names joins what is written.
void add_named_sets(const ConfigValue& description, const std::string& owner, const BuildContext& context,
                    LayerOptions& options) {
  if (options.file.has_value() != options.set.has_value())
    fail_at(description.blamed(), "{}: layers: 'file' and 'set' go together", owner);
  const auto join = [](std::vector<int>& all, const std::vector<int>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  const int num_layers = context.target->config().num_layers;
  if (options.speedup) join(options.skip, foretell::exits::spread_layers(num_layers, *options.speedup));
  if (!options.file) return;
  const foretell::exits::SkippedSublayers named = placed_at(description.find("file")->where(), [&] {
    return foretell::exits::load_layer_set(context.file(*options.file), *options.set, num_layers);
  });
  join(options.skip_attention, named.attention);
  join(options.skip_mlp, named.mlp);
}

std::optional<model::LayerSet> read_layers(const ConfigValue& description, const std::string& owner,
                                           const BuildContext& context) {
  if (description.is_null()) return std::nullopt;
  LayerOptions options;
  Parameters::read(description, owner + ", 'layers'", options);
  const int num_layers = context.target->config().num_layers;
  add_named_sets(description, owner, context, options);
  model::LayerSet set = model::LayerSet::all(num_layers);
  const auto leave_out = [&](const char* key, const std::vector<int>& layers, bool attention, bool mlp) {
    for (const int layer : layers) {
      if (layer < 0 || layer >= num_layers)
        fail_at(description.find(key)->where(), "{}: {}: there is no layer {}; expected 0 to {}", owner, key, layer,
                num_layers - 1);
      if (attention) set.set_attention(layer, false);
      if (mlp) set.set_mlp(layer, false);
    }
  };
  leave_out("skip", options.skip, true, true);
  leave_out("skip_attention", options.skip_attention, true, false);
  leave_out("skip_mlp", options.skip_mlp, false, true);
  if (set == model::LayerSet::all(num_layers)) return std::nullopt;
  if (set.prefix_layers() == 0) fail_at(description.blamed(), "{}: layers: none would be left", owner);
  return set;
}

std::shared_ptr<const Router> read_router(const ConfigValue& description, const std::string& owner,
                                          const BuildContext& context) {
  if (description.is_null()) return nullptr;
  Registry<Router>::instance().find(description);  // before what the model lacks: the name may be misspelt
  const formats::ModelConfig& config = context.target->config();
  if (config.moe.experts == 0)
    fail_at(description.blamed(), "{}: router: this model has no experts; expected a mixture of experts", owner);
  std::shared_ptr<const Router> router = Registry<Router>::instance().make(description, context);
  if (const auto why = router->unsupported_reason(model::expert_rule(config.moe)))
    fail_at(description.blamed(), "{}: {} does not fit this model: {}", owner, router->label(), *why);
  return router;
}

std::shared_ptr<const AttentionPolicy> read_attention(const ConfigValue& description, const std::string& owner,
                                                      const BuildContext& context) {
  if (description.is_null()) return nullptr;
  std::shared_ptr<const AttentionPolicy> policy = Registry<AttentionPolicy>::instance().make(description, context);
  if (const int window = context.target->config().sliding_window; window > 0)
    fail_at(description.blamed(), "{}: the target sees a sliding window of {} already: expected a model without one",
            owner, counted(window, "token"));
  return policy;
}

KvRule kv_rule(const std::string& name) {
  if (name == "copy") return KvRule::Copy;
  if (name == "recompute") return KvRule::Recompute;
  return name == "hole" ? KvRule::Hole : KvRule::Propagate;
}

// By `own`, `random` or a path. An Error if there is none behind a layer that rows may leave at.
std::shared_ptr<const model::ExitHeads> read_heads(const RuleOptions& options, const std::string& owner,
                                                   const std::vector<int>& asked, const BuildContext& context) {
  using model::heads::TrainedExitHeads;
  const std::string& heads = options.heads.value_or("own");
  if (heads == "own") return nullptr;
  if (heads == "random") return TrainedExitHeads::random(0, context.target);
  return placed_at(options.where, [&] {
    // Asked for by its own name, the file is one of those that a run's manifest holds.
    const std::string file = context.file(TrainedExitHeads::file_of(context.file(heads)).string());
    std::shared_ptr<const TrainedExitHeads> read = TrainedExitHeads::load(file, context.target);
    const std::vector<int> there = read->layers();
    for (const int layer : asked)
      if (!std::ranges::binary_search(there, layer))
        fail(
            "{}: {} has no head behind layer {}, where rows may leave; it has them behind {}: expected 'layers' among "
            "these",
            owner, file, layer, fmt::join(there, ", "));
    return read;
  });
}

ExitSettings read_exits(const RuleOptions& options, const std::string& owner, const BuildContext& context) {
  if (options.exit.is_null()) {
    if (options.kv || options.heads || options.max_pending)
      fail_at(options.where, "{}: {} says nothing where no row leaves: expected exit beside it", owner,
              options.kv      ? "kv"
              : options.heads ? "heads"
                              : "max_pending");
    return {};
  }
  Registry<ExitPolicy>::instance().find(options.exit);  // before what the model lacks: the name may be misspelt
  if (!context.target->parts())
    fail_at(options.exit.blamed(),
            "{}: exit: this target has no layers with a head behind them: expected a transformer", owner);
  ExitSettings exits{.policy = Registry<ExitPolicy>::instance().make(options.exit, context),
                     .kv = kv_rule(options.kv.value_or("propagate"))};
  if (options.max_pending) exits.max_pending = *options.max_pending;
  // An Error for a layer that there is not.
  const std::vector<int> asked = exits.policy->layers(context.target->config().num_layers);
  for (const Token token : exits.policy->wants().tokens)
    if (token >= context.vocab)
      fail_at(options.exit.blamed(), "{}: {} looks at token {}, the vocabulary has {}", owner, exits.policy->label(),
              token, context.vocab);
  const int width = context.target->config().hidden_size;
  if (const auto* reads = dynamic_cast<const foretell::exits::ReadsStates*>(exits.policy.get());
      reads != nullptr && reads->state_width() > 0 && reads->state_width() != width)
    fail_at(options.exit.blamed(), "{}: {} was trained on states of {}, this model's have {}", owner,
            exits.policy->label(), reads->state_width(), width);
  exits.heads = read_heads(options, owner, asked, context);
  const bool waits = exits.kv == KvRule::Recompute || exits.kv == KvRule::Hole;
  if (waits && !options.attention.is_null())
    fail_at(options.exit.blamed(), "{}: kv: {} does not go with an attention policy: expected propagate or copy", owner,
            *options.kv);
  return exits;
}

std::shared_ptr<const model::LanguageModel> read_rounded(const RuleOptions& options, const std::string& owner,
                                                         const BuildContext& context) {
  const std::string name = options.weights.value_or("int8");
  if (options.int8 && name != "int8")
    fail_at(options.where, "{}: int8: true and weights: {}: expected one of them", owner, printable(name));
  return placed_at(options.where, [&] {
    const model::WeightRounding to{.int4 = model::parse_int4(name)};
    if (!to.int4 && name != "int8")
      fail("{}: weights '{}' are not known: expected int8, int4[:GROUP] or int4z[:GROUP]", owner, printable(name));
    auto rounded = context.target->quantised(to);
    if (!rounded) fail("{}: this target has no form with {} weights: expected a model on the CPU", owner, name);
    return rounded;
  });
}

}  // namespace

void RuleOptions::declare(Parameters& p) {
  p.add("router", router, "which experts a row goes through, as {type: top_k, k: 1}; ~: the checkpoint's rule");
  p.add("attention", attention, "which rows of the cache are seen, as {type: streaming, window: 256}; ~: all");
  p.add("layers", layers,
        "sublayers that are left out: {skip: [..], skip_attention: [..], skip_mlp: [..]}, {speedup: 2}, {file: "
        "sets.json, set: NAME}; ~: none");
  p.add("weights", weights,
        "what the matrices' weights are rounded to: int8, or 4 bits with a scale for each GROUP of inputs, as "
        "int4[:GROUP], with zero points as int4z[:GROUP]; none: as they are");
  p.add("int8", int8, "the same as weights: int8");
  p.add("exit", exit, "where rows leave before the last layer, as {type: margin, threshold: 0.9}; ~: nowhere");
  p.add("heads", heads,
        "what answers rows that leave: own (the model's head behind its final norm), a folder or safetensors file of "
        "trained heads, or random, for tests; none: own");
  p.add("kv", kv, "what layers above a row's exit see of it; none: propagate",
        {.choices = {"propagate", "copy", "recompute", "hole"}});
  p.add("max_pending", max_pending, "under kv: recompute, tokens whose keys and values may wait; none: 32",
        {.min = 0, .max = 1 << 20});
  where = p.where();
}

ForwardRules make_rules(const RuleOptions& options, const std::string& owner, const BuildContext& context) {
  const bool rounds = options.int8 || options.weights;
  const bool any = rounds || !options.router.is_null() || !options.attention.is_null() || !options.layers.is_null() ||
                   !options.exit.is_null();
  if (any && !context.target) fail_at(options.where, "{}: rules need a model as target, not a recorded answer", owner);
  ForwardRules rules;
  rules.exits = read_exits(options, owner, context);
  if (!any) return rules;
  rules.router = read_router(options.router, owner, context);
  rules.attention = read_attention(options.attention, owner, context);
  rules.layers = read_layers(options.layers, owner, context);
  if (rounds) rules.rounded = read_rounded(options, owner, context);
  return rules;
}

ForwardRules read_rules(const ConfigValue& rules, const std::string& owner, const BuildContext& context) {
  RuleOptions options;
  Parameters::read(rules, owner, options);
  return make_rules(options, owner, context);
}

void ForwardRules::apply(model::ForwardOptions& options) const {
  options.router = router.get();
  if (layers) options.computed = layers;
}

}  // namespace foretell::decoding
