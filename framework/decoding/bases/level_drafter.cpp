#include "framework/decoding/bases/level_drafter.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <limits>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::bases {

void ModelDraftOptions::declare(Parameters& p) {
  p.add("num_speculative_tokens", num_speculative_tokens, "depth of the draft; none: 4, or the depth of the tree",
        {.min = 1, .max = 4096, .aliases = {"num_assistant_tokens", "num_draft_tokens"}});
  p.add("draft_sample_method", method, "draw tokens from the draft's distribution, or take its most probable ones",
        {.choices = {"sample", "top_k"}});
  p.add("replacement", replacement, "whether siblings are drawn with replacement");
  p.add("temperature", temperature, "temperature of the draft; none: the target's", {.min = 0, .max = 1e6});
  p.add("tree", tree, "its own tree policy, as {type: widths, widths: [2, 1]}; none: a chain; ~: the pipeline's");
  where = p.where();
}

// What the source says of the rows that are looked at next.
struct LevelDrafter::Level {
  LevelRows rows = {};
  std::vector<float> translated = {};  // of the row that was asked for last, where the source has ids of its own
};

// A sequence's draft while it grows. Its tokens are the target's.
struct LevelDrafter::Growth {
  const DraftContext& context;
  Sampler sampler;  // the draft's own
  DraftTree tree;
  std::vector<NodeId> frontier{kAnchor};
  std::vector<double> path_probability{1.0};  // by node; only kept where a policy wants distributions
  bool done = false;

  // The logits of a row with the node's own penalties and bias.
  std::vector<float> adjusted(NodeId node, std::span<const float> row) const {
    std::vector<float> out(row.begin(), row.end());
    const Tokens path = tree.path(node);
    sampler.adjust(out, {context.request.prompt, context.generated(), path});
    return out;
  }
  Distribution drawing_distribution(NodeId node, std::span<const float> row) const {
    return sampler.adjusts() ? sampler.distribution(adjusted(node, row)) : sampler.distribution(row);
  }
  // What policies rank by: the draft's distribution, at temperature 1 where it is greedy.
  Distribution ranking_distribution(NodeId node, std::span<const float> row) const {
    if (!sampler.greedy()) return drawing_distribution(node, row);
    SamplingOptions plain = sampler.options();
    plain.temperature = 1.0;
    return Sampler(plain, context.vocab).distribution(adjusted(node, row));
  }
  void keep_most_probable(int count, std::vector<NodeId>& nodes) const {
    if (static_cast<int>(nodes.size()) <= count) return;
    const auto path = [&](NodeId node) { return path_probability[static_cast<std::size_t>(node)]; };
    std::stable_sort(nodes.begin(), nodes.end(), [&](NodeId a, NodeId b) { return path(a) > path(b); });
    nodes.resize(static_cast<std::size_t>(count));
    std::sort(nodes.begin(), nodes.end());
  }
};

LevelDrafter::LevelDrafter(ModelDraftOptions options, std::unique_ptr<LevelSource> source, const BuildContext& context)
    : options_(std::move(options)), source_(std::move(source)), target_vocab_(context.vocab) {
  if (options_.num_speculative_tokens && *options_.num_speculative_tokens > source_->deepest())
    fail_at(options_.where, "num_speculative_tokens is {}, this drafter has {}: expected at most as many",
            *options_.num_speculative_tokens, counted(source_->deepest(), "level"));
  const ConfigValue* tree = options_.names_tree()                     ? &options_.tree
                            : options_.tree.is_null() && context.tree ? &*context.tree
                                                                      : nullptr;
  if (tree) shape_ = Registry<TreePolicy>::instance().make(*tree, context);
}

DraftBudget LevelDrafter::limits() const {
  DraftBudget limits = shape_ ? shape_->limits() : DraftBudget{4, 4, 1};
  if (const auto asked = options_.num_speculative_tokens)
    limits.depth = shape_ ? std::min(limits.depth, *asked) : *asked;
  limits.depth = std::min(limits.depth, source_->deepest());
  if (!shape_) limits.nodes = limits.depth;
  return limits;
}

DraftForm LevelDrafter::form() const {
  const bool drawn = options_.method == "sample";
  return {.tree = shape_ != nullptr,
          .point_mass = true,
          .independent = drawn && options_.replacement,
          .without_replacement = drawn && !options_.replacement};
}

int LevelDrafter::most_nodes() const {
  return shape_ ? std::max(shape_->limits().nodes, shape_->grown_nodes()) : limits().nodes;
}

std::vector<DraftTree> LevelDrafter::draft(std::span<const DraftContext> batch) {
  std::vector<Growth> all;
  all.reserve(batch.size());
  for (const DraftContext& context : batch) {
    SamplingOptions sampling = context.sampler.options();
    if (options_.temperature) sampling.temperature = *options_.temperature;
    all.push_back({context, Sampler(sampling, context.vocab), DraftTree(context.committed.back())});
  }
  std::vector<Growth*> active;
  for (Growth& growth : all)
    if (growth.context.budget.nodes > 0) active.push_back(&growth);
  for (int depth = 1; !active.empty(); ++depth) {
    Level level = ask(active, depth);
    std::size_t first = 0;
    for (Growth* growth : active) first = add_level(*growth, depth, level, first);
    std::erase_if(active, [](const Growth* growth) { return growth->done; });
  }
  std::vector<DraftTree> drafts;
  drafts.reserve(all.size());
  for (Growth& growth : all) {
    const SlotId slot = growth.context.slot;
    drafts.push_back(select(std::move(growth)));
    source_->drafted(slot, drafts.back());
  }
  return drafts;
}

LevelDrafter::Level LevelDrafter::ask(std::span<Growth* const> active, int depth) {
  std::vector<LevelRequest> requests;
  std::size_t nodes = 0;
  for (const Growth* growth : active) {
    requests.push_back({growth->context, growth->tree, growth->frontier});
    nodes += growth->frontier.size();
  }
  Level level{source_->level(requests, depth)};
  FORETELL_CHECK(level.rows.row_of.size() == nodes, "{} rows for {} nodes at depth {}", level.rows.row_of.size(), nodes,
                 depth);
  const std::size_t ids = source_->target_ids().size();
  FORETELL_CHECK(ids == 0 || ids >= static_cast<std::size_t>(level.rows.logits.vocab()), "{} ids for {} logits", ids,
                 level.rows.logits.vocab());
  return level;
}

// In the target's vocabulary.
std::span<const float> LevelDrafter::row(Level& level, int index) const {
  const std::span<const float> own = level.rows.logits.row(index);
  const std::span<const Token> ids = source_->target_ids();
  if (ids.empty()) return own;
  level.translated.assign(static_cast<std::size_t>(target_vocab_), -std::numeric_limits<float>::infinity());
  for (std::size_t t = 0; t < own.size(); ++t)
    if (ids[t] >= 0) level.translated[static_cast<std::size_t>(ids[t])] = own[t];
  return level.translated;
}

// Adds the children of the frontier, whose first node is number `first` of all that were asked for. Returns the number
// after its last one.
std::size_t LevelDrafter::add_level(Growth& growth, int depth, Level& level, std::size_t first) {
  const std::size_t next = first + growth.frontier.size();
  std::vector<int> rows;
  std::vector<NodeId> open;
  for (std::size_t i = 0; i < growth.frontier.size(); ++i) {
    const int row = level.rows.row_of[first + i];
    if (row == LevelRows::kNone) continue;
    rows.push_back(row);
    open.push_back(growth.frontier[i]);
  }
  growth.frontier = std::move(open);
  growth.done = growth.frontier.empty();
  if (growth.done) return next;

  const int limit = node_limit(growth);
  const std::vector<Ranking> distributions = ranking_distributions(growth, level, rows);
  const std::vector<int> widths = plan_level(growth, depth, distributions, level, rows);
  std::vector<NodeId> children;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const int width = std::min(widths[i], limit - (growth.tree.size() - 1));
    if (width > 0) add_children(growth, growth.frontier[i], level, rows[i], width, distributions[i], children);
  }
  if (shape_ && shape_->beam()) growth.keep_most_probable(*shape_->beam(), children);
  growth.frontier = std::move(children);
  const int deepest = std::min(growth.context.budget.depth, source_->deepest());
  growth.done = growth.frontier.empty() || depth >= deepest || growth.tree.size() - 1 >= limit;
  return next;
}

// By frontier node; null where nobody ranks. Nodes that share a row share its distribution.
std::vector<LevelDrafter::Ranking> LevelDrafter::ranking_distributions(const Growth& growth, Level& level,
                                                                       std::span<const int> rows) const {
  std::vector<Ranking> distributions(rows.size());
  if (!wants_probs(growth)) return distributions;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool same = i > 0 && rows[i] == rows[i - 1] && !growth.sampler.adjusts();
    distributions[i] = same ? distributions[i - 1]
                            : std::make_shared<const Distribution>(
                                  growth.ranking_distribution(growth.frontier[i], row(level, rows[i])));
  }
  return distributions;
}

// A draft of point masses may grow beyond its budget, for the shape to choose from.
int LevelDrafter::node_limit(const Growth& growth) const {
  const int nodes = growth.context.budget.nodes;
  return shape_ && chooses(growth) ? std::max(nodes, shape_->grown_nodes()) : nodes;
}

bool LevelDrafter::chooses(const Growth& growth) const { return growth.sampler.greedy() || options_.method == "top_k"; }

bool LevelDrafter::wants_probs(const Growth& growth) const {
  return growth.context.policy.wants_probs() || (shape_ && shape_->wants_probs());
}

std::vector<int> LevelDrafter::plan_level(Growth& growth, int depth, const std::vector<Ranking>& distributions,
                                          Level& level, std::span<const int> rows) {
  std::vector<FrontierNode> nodes;
  std::size_t best = 0;
  for (std::size_t i = 0; i < growth.frontier.size(); ++i) {
    const NodeId node = growth.frontier[i];
    const double path = distributions[i] ? growth.path_probability[static_cast<std::size_t>(node)] : 1.0;
    nodes.push_back({node, path, distributions[i].get()});
    if (path > nodes[best].path_probability) best = i;
  }
  const NodeId at = nodes[best].node;
  const double before = growth.path_probability[static_cast<std::size_t>(growth.tree.node(at).parent)];
  DraftStep step{growth.context.slot, depth, nodes[best].distribution, nodes[best].path_probability, 1.0};
  if (at != kAnchor && before > 0) step.last_probability = nodes[best].path_probability / before;
  if (level.rows.states.defined()) {
    const at::Tensor state = level.rows.states[rows[best]];
    step.hidden = {state.const_data_ptr<float>(), static_cast<std::size_t>(state.numel())};
  }
  if (!growth.context.policy.should_continue(step)) return std::vector<int>(nodes.size(), 0);
  if (!shape_) return std::vector<int>(nodes.size(), 1);
  growth.path_probability.resize(static_cast<std::size_t>(growth.tree.size()), 1.0);
  return shape_->expand(
      {depth, nodes, node_limit(growth) - (growth.tree.size() - 1), growth.tree, growth.path_probability});
}

void LevelDrafter::add_children(Growth& growth, NodeId parent, Level& level, int index, int width,
                                const Ranking& ranking, std::vector<NodeId>& children) {
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
  const DistributionId id =
      growth.tree.add_distribution(growth.drawing_distribution(parent, row(level, index)),
                                   options_.replacement ? Draws::IndependentDraws : Draws::WithoutReplacement);
  std::optional<Distribution> q = growth.tree.distribution(id).q;
  for (int i = 0; i < width && q; ++i) {
    const Token token = growth.context.draw(growth.tree, parent, *q);
    note(growth.tree.propose(parent, token, id), growth.tree.distribution(id).q[token]);
    if (!options_.replacement) q = without(*q, token);
  }
}

std::vector<Token> LevelDrafter::top_tokens(const Growth& growth, NodeId node, Level& level, int index,
                                            int width) const {
  if (growth.sampler.adjusts()) return highest(growth.adjusted(node, row(level, index)), width);
  if (width == 1 && source_->target_ids().empty()) return {level.rows.logits.argmax(index)};
  return highest(row(level, index), width);
}

// Lets the tree policy choose among point masses. A drawn token may never be dropped for what it turned out to be.
DraftTree LevelDrafter::select(Growth growth) {
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
