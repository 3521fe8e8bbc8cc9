#include "framework/decoding/bases/model_drafter.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/aligned_vocabulary.h"
#include "framework/decoding/host_logits.h"
#include "framework/decoding/target_view.h"

namespace foretell::bases {
namespace {

constexpr int kPrefillChunk = 512;

}  // namespace

void ModelDraftOptions::declare(Parameters& p) {
  p.add("num_speculative_tokens", num_speculative_tokens, "depth of the draft; none: 4, or the depth of the tree",
        {.min = 1, .max = 4096, .aliases = {"num_assistant_tokens", "num_draft_tokens"}});
  p.add("draft_sample_method", method, "draw tokens from the draft's law, or take its most probable ones",
        {.choices = {"sample", "top_k"}});
  p.add("replacement", replacement, "whether siblings are drawn with replacement");
  p.add("temperature", temperature, "temperature of the draft; none: the target's", {.min = 0, .max = 1e6});
  p.add("tree", tree, "its own tree policy, as {type: widths, widths: [2, 1]}; none: a chain; ~: the pipeline's");
}

std::string draft_checkpoint(const std::string& option, const BuildContext& context, const char* drafter) {
  std::string path = !option.empty() ? context.file(option) : context.draft_model.value_or("");
  if (path.empty())
    fail("drafter '{}' needs a draft checkpoint: give model.draft in the study or 'model' here", drafter);
  return path;
}

std::shared_ptr<const model::LanguageModel> load_draft(const std::string& option, const BuildContext& context,
                                                       const char* drafter) {
  const std::string path = draft_checkpoint(option, context, drafter);
  return decoding::in_target_ids(context.load_model(path), context.vocab,
                                 context.shared_ids ? context.shared_ids(path) : std::nullopt, path);
}

// What the model says of the rows that are looked at next.
struct ModelDrafter::Level {
  decoding::HostLogits logits = {};
  at::Tensor states = {};              // [rows, hidden] float32 on the host; undefined unless the policy wants them
  std::vector<float> translated = {};  // of the row that was asked for last, where there is a vocabulary map
};

// A sequence's draft while it grows. Its tokens are the target's.
struct ModelDrafter::Growth {
  const DraftContext& context;
  Sequence& sequence;
  Sampler sampler;  // the draft's own
  DraftTree tree;
  std::vector<NodeId> frontier{kAnchor};
  std::vector<NodeId> forwarded{};            // draft rows by row number behind the anchor
  std::vector<double> path_probability{1.0};  // by node; only kept where a policy wants laws
  bool done = false;

  // The logits of a row with the node's own penalties and bias.
  std::vector<float> adjusted(NodeId node, std::span<const float> row) const {
    std::vector<float> out(row.begin(), row.end());
    const Tokens path = tree.path(node);
    sampler.adjust(out, {context.request.prompt, context.generated(), path});
    return out;
  }
  Law drawing_law(NodeId node, std::span<const float> row) const {
    return sampler.adjusts() ? sampler.law(adjusted(node, row)) : sampler.law(row);
  }
  // What policies rank by: the draft's law, at temperature 1 where it is greedy.
  Law ranking_law(NodeId node, std::span<const float> row) const {
    if (!sampler.greedy()) return drawing_law(node, row);
    SamplingOptions plain = sampler.options();
    plain.temperature = 1.0;
    return Sampler(plain, context.vocab).law(adjusted(node, row));
  }
  NodeId row_of(NodeId node) const {
    const auto it = std::find(forwarded.begin(), forwarded.end(), node);
    return static_cast<NodeId>(it - forwarded.begin()) + 1;
  }
  void keep_most_probable(int count, std::vector<NodeId>& nodes) const {
    if (static_cast<int>(nodes.size()) <= count) return;
    const auto path = [&](NodeId node) { return path_probability[static_cast<std::size_t>(node)]; };
    std::stable_sort(nodes.begin(), nodes.end(), [&](NodeId a, NodeId b) { return path(a) > path(b); });
    nodes.resize(static_cast<std::size_t>(count));
    std::sort(nodes.begin(), nodes.end());
  }
};

ModelDrafter::ModelDrafter(ModelDraftOptions options, std::shared_ptr<const model::LanguageModel> model,
                           const BuildContext& context, std::optional<VocabularyMap> vocabulary)
    : options_(std::move(options)),
      model_(std::move(model)),
      vocabulary_(std::move(vocabulary)),
      target_vocab_(context.vocab) {
  FORETELL_CHECK(vocabulary_ || model_->config().vocab_size == target_vocab_, "{} tokens, the target has {}",
                 model_->config().vocab_size, target_vocab_);
  const ConfigValue* tree = options_.names_tree()                     ? &options_.tree
                            : options_.tree.is_null() && context.tree ? &*context.tree
                                                                      : nullptr;
  if (tree) shape_ = Registry<TreePolicy>::instance().make(*tree, context);
}

DraftBudget ModelDrafter::limits() const {
  DraftBudget limits = shape_ ? shape_->limits() : DraftBudget{4, 4, 1};
  if (!options_.num_speculative_tokens) return limits;
  limits.depth = shape_ ? std::min(limits.depth, *options_.num_speculative_tokens) : *options_.num_speculative_tokens;
  if (!shape_) limits.nodes = limits.depth;
  return limits;
}

DraftForm ModelDrafter::form() const {
  const bool drawn = options_.method == "sample";
  return {.tree = shape_ != nullptr,
          .point_mass = true,
          .independent = drawn && options_.replacement,
          .without_replacement = drawn && !options_.replacement};
}

void DraftCacheOption::declare(Parameters& p) {
  p.add("cache", choice, "draft on the target's cache or on a second one; auto: the target's where that can be",
        {.choices = {"auto", "target", "own"}});
  where = p.where();
}

void ModelDrafter::draft_for_itself(std::unique_ptr<const AttentionPolicy> policy, const DraftCacheOption& cache,
                                    const char* drafter) {
  const bool watches = policy && policy->wants_weights(), grows = rows_drafted() > limits().nodes;
  if (cache.choice == "target" && watches)
    fail_at(
        cache.where,
        "{}: this attention policy looks at weights, which the target's own forwards do not give: expected cache: own",
        drafter);
  if (cache.choice == "target" && grows)
    fail_at(cache.where,
            "{}: the tree grows {}, the target's cache has room for the {} that are scored: expected cache: own",
            drafter, counted(rows_drafted(), "node"), limits().nodes);
  attention_ = std::move(policy);
  cache_ = cache.choice == "own" || watches || grows ? DraftCache::Own : DraftCache::Targets;
}

int ModelDrafter::rows_drafted() const {
  return shape_ ? std::max(shape_->limits().nodes, shape_->grown_nodes()) : limits().nodes;
}

void ModelDrafter::begin(SlotId slot, const PromptView& prompt) {
  SessionAttention attention{attention_ ? attention_->fresh() : nullptr, static_cast<int>(prompt.tokens.size())};
  sequences_.erase(slot);
  if (cache_ == DraftCache::Targets) {
    sequences_.emplace(slot, Sequence(ModelSession(*model_, std::move(attention))));
    return;
  }
  // A text may take more of the draft's tokens than of the target's: then its context is what bounds it.
  const int context = model_->config().context;
  const auto reach =
      (static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens) * (vocabulary_ ? 4 : 1);
  const int capacity = static_cast<int>(std::min<std::int64_t>(reach, context)) + rows_drafted() + 1;
  sequences_.emplace(slot, Sequence(ModelSession(*model_, capacity, std::move(attention))));
}

std::vector<DraftTree> ModelDrafter::draft(std::span<const DraftContext> batch) {
  std::vector<Growth> all;
  all.reserve(batch.size());
  for (const DraftContext& context : batch) {
    SamplingOptions sampling = context.sampler.options();
    if (options_.temperature) sampling.temperature = *options_.temperature;
    all.push_back(
        {context, sequences_.at(context.slot), Sampler(sampling, context.vocab), DraftTree(context.committed.back())});
  }
  Level level;
  std::vector<Growth*> active = start(all, level);
  for (int depth = 1; !active.empty(); ++depth) {
    int row = 0;
    for (Growth* growth : active) row = add_level(*growth, depth, level, row);
    std::erase_if(active, [](const Growth* growth) { return growth->done; });
    if (!active.empty()) level = forward_level(active);
  }
  std::vector<DraftTree> drafts;
  drafts.reserve(all.size());
  for (Growth& growth : all) drafts.push_back(select(std::move(growth)));
  return drafts;
}

TokenSpan ModelDrafter::own_tokens(Sequence& sequence, TokenSpan committed) const {
  if (!vocabulary_) return committed;
  const auto same =
      std::mismatch(sequence.source.begin(), sequence.source.end(), committed.begin(), committed.end()).first;
  const auto kept = static_cast<std::size_t>(same - sequence.source.begin());
  sequence.source.assign(committed.begin(), committed.end());
  sequence.ends.resize(kept);
  sequence.tokens.resize(kept == 0 ? 0 : sequence.ends.back());
  for (const Token token : committed.subspan(kept)) {
    const Tokens& own = vocabulary_->to_draft[static_cast<std::size_t>(token)];
    sequence.tokens.insert(sequence.tokens.end(), own.begin(), own.end());
    sequence.ends.push_back(sequence.tokens.size());
  }
  return sequence.tokens;
}

// Brings the caches into step; one row of logits for each sequence that drafts at all.
std::vector<ModelDrafter::Growth*> ModelDrafter::start(std::vector<Growth>& all, Level& level) {
  std::vector<Growth*> active;
  std::vector<model::ForwardItem> items;
  std::vector<std::int64_t> last_rows;
  for (Growth& growth : all) {
    if (growth.context.budget.nodes == 0) continue;
    ModelSession& session = growth.sequence.session;
    const TokenSpan text = own_tokens(growth.sequence, growth.context.committed);
    if (static_cast<int>(text.size()) > model_->config().context) continue;
    if (cache_ == DraftCache::Targets) {
      FORETELL_CHECK(growth.context.target, "no target lends a cache for {} tokens", text.size());
      session.borrow(growth.context.target->lend(), text);
    }
    TokenSpan missing = text.subspan(static_cast<std::size_t>(session.align(text)));
    if (static_cast<int>(missing.size()) + rows_drafted() > session.room()) continue;
    for (; missing.size() > kPrefillChunk; missing = missing.subspan(kPrefillChunk))
      model_->forward(session.extend(missing.first(kPrefillChunk), model::LogitRows::None));
    items.push_back(session.extend(missing, model::LogitRows::Last));
    active.push_back(&growth);
    last_rows.push_back((last_rows.empty() ? -1 : last_rows.back()) + static_cast<std::int64_t>(missing.size()));
  }
  if (!items.empty()) level = forward(items, *active.front(), &last_rows);
  return active;
}

// `rows`: those of the forward that have logits; all without it.
ModelDrafter::Level ModelDrafter::forward(const std::vector<model::ForwardItem>& items, const Growth& any,
                                          const std::vector<std::int64_t>* rows) const {
  model::ForwardOptions options;
  options.tap_final = any.context.policy.wants_hidden();
  model::ForwardResult result = model_->forward(items, options);
  Level level{decoding::HostLogits(std::move(result.logits))};
  if (!options.tap_final) return level;
  at::Tensor states = std::move(result.final_state);
  if (rows) states = states.index_select(0, at::tensor(*rows).to(states.device()));
  level.states = states.to(at::kCPU, at::kFloat).contiguous();
  return level;
}

ModelDrafter::Level ModelDrafter::forward_level(std::span<Growth* const> active) const {
  std::vector<model::ForwardItem> items;
  for (Growth* growth : active) {
    std::vector<DraftNode> rows;
    for (const NodeId node : growth->frontier) {
      const NodeId parent = growth->tree.node(node).parent;
      rows.push_back({own_token(growth->tree.node(node).token), parent == kAnchor ? kAnchor : growth->row_of(parent)});
      growth->forwarded.push_back(node);
    }
    items.push_back(growth->sequence.session.grow(rows));
  }
  return forward(items, *active.front());
}

// In the target's vocabulary.
std::span<const float> ModelDrafter::row(Level& level, int index) const {
  const std::span<const float> own = level.logits.row(index);
  if (!vocabulary_) return own;
  level.translated.assign(static_cast<std::size_t>(target_vocab_), -std::numeric_limits<float>::infinity());
  for (std::size_t t = 0; t < own.size(); ++t)
    if (vocabulary_->to_target[t] >= 0) level.translated[static_cast<std::size_t>(vocabulary_->to_target[t])] = own[t];
  return level.translated;
}

// Adds the children of the frontier; its rows of logits start at `first_row`. Returns the row after them.
int ModelDrafter::add_level(Growth& growth, int depth, Level& level, int first_row) {
  const int limit = node_limit(growth);
  const int next_row = first_row + static_cast<int>(growth.frontier.size());
  std::vector<std::optional<Law>> laws(growth.frontier.size());
  if (wants_laws(growth))
    for (std::size_t i = 0; i < laws.size(); ++i)
      laws[i] = growth.ranking_law(growth.frontier[i], row(level, first_row + static_cast<int>(i)));
  const std::vector<int> widths = plan_level(growth, depth, laws, level, first_row);
  std::vector<NodeId> children;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const int width = std::min(widths[i], limit - (growth.tree.size() - 1));
    if (width > 0)
      add_children(growth, growth.frontier[i], level, first_row + static_cast<int>(i), width, laws[i], children);
  }
  if (shape_ && shape_->beam()) growth.keep_most_probable(*shape_->beam(), children);
  growth.frontier = std::move(children);
  const bool room = growth.tree.size() - 1 < limit && growth.sequence.session.positions_left() >= depth;
  growth.done = growth.frontier.empty() || depth >= growth.context.budget.depth || !room;
  return next_row;
}

// A draft of point masses may grow beyond its budget, for the shape to choose from.
int ModelDrafter::node_limit(const Growth& growth) const {
  const int nodes = growth.context.budget.nodes;
  return shape_ && chooses(growth) ? std::max(nodes, shape_->grown_nodes()) : nodes;
}

bool ModelDrafter::chooses(const Growth& growth) const { return growth.sampler.greedy() || options_.method == "top_k"; }

bool ModelDrafter::wants_laws(const Growth& growth) const {
  return growth.context.policy.wants_laws() || (shape_ && shape_->wants_laws());
}

// The states' row of the first frontier node is `first_row`.
std::vector<int> ModelDrafter::plan_level(Growth& growth, int depth, const std::vector<std::optional<Law>>& laws,
                                          Level& level, int first_row) {
  std::vector<FrontierNode> nodes;
  std::size_t best = 0;
  for (std::size_t i = 0; i < growth.frontier.size(); ++i) {
    const NodeId node = growth.frontier[i];
    const double path = laws[i] ? growth.path_probability[static_cast<std::size_t>(node)] : 1.0;
    nodes.push_back({node, path, laws[i] ? &*laws[i] : nullptr});
    if (path > nodes[best].path_probability) best = i;
  }
  const NodeId at = nodes[best].node;
  const double before = growth.path_probability[static_cast<std::size_t>(growth.tree.node(at).parent)];
  DraftStep step{growth.context.slot, depth, nodes[best].law, nodes[best].path_probability, 1.0};
  if (at != kAnchor && before > 0) step.last_probability = nodes[best].path_probability / before;
  if (level.states.defined()) {
    const at::Tensor state = level.states[first_row + static_cast<std::int64_t>(best)];
    step.hidden = {state.const_data_ptr<float>(), static_cast<std::size_t>(state.numel())};
  }
  if (!growth.context.policy.go_on(step)) return std::vector<int>(nodes.size(), 0);
  if (!shape_) return std::vector<int>(nodes.size(), 1);
  growth.path_probability.resize(static_cast<std::size_t>(growth.tree.size()), 1.0);
  return shape_->expand(
      {depth, nodes, node_limit(growth) - (growth.tree.size() - 1), growth.tree, growth.path_probability});
}

void ModelDrafter::add_children(Growth& growth, NodeId parent, Level& level, int index, int width,
                                const std::optional<Law>& ranking, std::vector<NodeId>& children) {
  const auto note = [&](NodeId node, double probability) {
    if (std::find(children.begin(), children.end(), node) == children.end()) children.push_back(node);
    growth.path_probability.resize(static_cast<std::size_t>(growth.tree.size()), 1.0);
    growth.path_probability[static_cast<std::size_t>(node)] =
        growth.path_probability[static_cast<std::size_t>(parent)] * probability;
  };
  if (chooses(growth)) {
    for (const Token token : top_tokens(growth, parent, level, index, width))
      note(growth.tree.choose(parent, token, growth.context.vocab), ranking ? (*ranking)[token] : 1.0);
    return;
  }
  const LawId id = growth.tree.add_law(growth.drawing_law(parent, row(level, index)),
                                       options_.replacement ? Draws::IndependentDraws : Draws::WithoutReplacement);
  std::optional<Law> q = growth.tree.law(id).q;
  for (int i = 0; i < width && q; ++i) {
    const Token token = growth.context.draw(growth.tree, parent, *q);
    note(growth.tree.propose(parent, token, id), growth.tree.law(id).q[token]);
    if (!options_.replacement) q = without(*q, token);
  }
}

std::vector<Token> ModelDrafter::top_tokens(const Growth& growth, NodeId node, Level& level, int index,
                                            int width) const {
  if (growth.sampler.adjusts()) return highest(growth.adjusted(node, row(level, index)), width);
  if (width == 1 && !vocabulary_) return {level.logits.argmax(index)};
  return highest(row(level, index), width);
}

// Lets the tree policy choose among point masses. A drawn token may never be dropped for what it turned out to be.
DraftTree ModelDrafter::select(Growth growth) {
  const DraftTree& tree = growth.tree;
  if (!shape_ || tree.size() == 1 || !tree.all_point_masses()) return std::move(growth.tree);
  growth.path_probability.resize(static_cast<std::size_t>(tree.size()), 1.0);
  const int nodes = growth.context.budget.nodes;
  const std::vector<NodeId> kept = shape_->select(tree, growth.path_probability, nodes);
  if (kept.empty()) {
    FORETELL_CHECK(tree.size() - 1 <= nodes, "the tree policy grew {} nodes and chose none; {} are allowed",
                   tree.size() - 1, nodes);
    return std::move(growth.tree);
  }
  return tree.pruned(kept);
}

}  // namespace foretell::bases
