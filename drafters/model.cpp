// A draft model: a smaller checkpoint with the target's vocabulary (Leviathan et al. 2022, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318).
//
// Drafts a chain, or a tree in the shape of the pipeline's tree policy. Tokens are drawn from the draft's law, warped as the target's is, with or
// without replacement among siblings; or they are the top-k of it, as point masses. At temperature 0 they are always the top-k: a draw from a
// point mass has no second child to give. All sequences of the batch go through one forward a level.
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>

#include "framework/base/error.h"
#include "framework/decode/build_context.h"
#include "framework/decode/drafter.h"
#include "framework/decode/host_logits.h"
#include "framework/decode/model_session.h"
#include "framework/decode/policy.h"

namespace foretell {
namespace {

constexpr int kPrefillChunk = 512;

struct ModelOptions {
  std::string model;
  std::optional<int> num_speculative_tokens;
  std::string method = "sample";
  bool replacement = false;
  std::optional<double> temperature;
  void declare(Parameters& p) {
    p.add("model", model, "folder of the draft checkpoint; empty: the study's model.draft",
          {.aliases = {"draft_model", "assistant_model"}});
    p.add("num_speculative_tokens", num_speculative_tokens, "depth of the draft; none: 4, or the depth of the tree",
          {.min = 1, .max = 4096, .aliases = {"num_assistant_tokens", "num_draft_tokens"}});
    p.add("draft_sample_method", method, "draw tokens from the draft's law, or take its most probable ones",
          {.choices = {"sample", "top_k"}});
    p.add("replacement", replacement, "whether siblings are drawn with replacement");
    p.add("temperature", temperature, "temperature of the draft; none: the target's", {.min = 0});
  }
};

// What the draft model says of the rows that are looked at next.
struct Level {
  HostLogits logits = {};
  at::Tensor states = {};  // [rows, hidden] float32 on the host; undefined unless the policy wants them
};

// A sequence's draft while it grows.
struct Growth {
  const DraftContext& context;
  ModelSession& session;
  Sampler sampler;  // the draft's own
  DraftTree tree;
  std::vector<NodeId> frontier{kAnchor};
  std::vector<NodeId> forwarded{};            // draft rows by row number behind the anchor
  std::vector<double> path_probability{1.0};  // by node; only kept where a policy wants laws
  bool done = false;
};

class ModelDrafter final : public Drafter {
 public:
  using Options = ModelOptions;
  ModelDrafter(const Options& options, const BuildContext& context) : options_(options) {
    const std::string path = !options_.model.empty() ? options_.model : context.draft_model.value_or("");
    if (path.empty()) fail("drafter 'model' needs a draft checkpoint: give model.draft in the study or 'model' here");
    model_ = context.load_model(path);
    const int vocab = model_->config().vocab_size;
    if (vocab != context.vocab)
      fail("the draft model {} has a vocabulary of {} tokens, the target has {}: they must be the same", path, vocab, context.vocab);
    if (context.tree) shape_ = Registry<TreePolicy>::instance().make(*context.tree, context);
  }

  DraftBudget limits() const override {
    DraftBudget limits = shape_ ? shape_->limits() : DraftBudget{4, 4, 1};
    if (!options_.num_speculative_tokens) return limits;
    limits.depth = shape_ ? std::min(limits.depth, *options_.num_speculative_tokens) : *options_.num_speculative_tokens;
    if (!shape_) limits.nodes = limits.depth;
    return limits;
  }
  DraftForm form() const override {
    const bool drawn = options_.method == "sample";
    return {.tree = shape_ != nullptr,
            .point_mass = true,
            .independent = drawn && options_.replacement,
            .without_replacement = drawn && !options_.replacement};
  }

  void begin(SlotId slot, const PromptView& prompt) override {
    const int context = model_->config().context;
    const auto reach = static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens;
    sessions_.erase(slot);
    sessions_.try_emplace(slot, *model_, static_cast<int>(std::min<std::int64_t>(reach, context)) + rows_drafted() + 1);
  }
  void end(SlotId slot) override { sessions_.erase(slot); }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<Growth> all;
    all.reserve(batch.size());
    for (const DraftContext& context : batch) {
      SamplingOptions sampling = context.sampler.options();
      if (options_.temperature) sampling.temperature = *options_.temperature;
      all.push_back({context, sessions_.at(context.slot), Sampler(sampling, context.vocab), DraftTree(context.committed.back())});
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
    for (Growth& growth : all) drafts.push_back(select(std::move(growth)));
    return drafts;
  }

 private:
  int rows_drafted() const { return shape_ ? std::max(shape_->limits().nodes, shape_->grown_nodes()) : limits().nodes; }

  // Brings the draft's caches into step; one row of logits for each sequence that drafts at all.
  std::vector<Growth*> start(std::vector<Growth>& all, Level& level) {
    std::vector<Growth*> active;
    std::vector<ForwardItem> items;
    std::vector<std::int64_t> last_rows;
    for (Growth& growth : all) {
      const TokenSpan committed = growth.context.committed;
      const bool fits = static_cast<int>(committed.size()) <= model_->config().context;
      if (growth.context.budget.nodes == 0 || !fits) continue;
      TokenSpan missing = committed.subspan(static_cast<std::size_t>(growth.session.align(committed)));
      for (; missing.size() > kPrefillChunk; missing = missing.subspan(kPrefillChunk))
        model_->forward(growth.session.extend(missing.first(kPrefillChunk), LogitRows::None));
      items.push_back(growth.session.extend(missing, LogitRows::Last));
      active.push_back(&growth);
      last_rows.push_back((last_rows.empty() ? -1 : last_rows.back()) + static_cast<std::int64_t>(missing.size()));
    }
    if (!items.empty()) level = forward(items, *active.front(), &last_rows);
    return active;
  }

  // `rows`: those of the forward that have logits; all without it.
  Level forward(const std::vector<ForwardItem>& items, const Growth& any, const std::vector<std::int64_t>* rows = nullptr) const {
    ForwardOptions options;
    options.tap_final = any.context.policy.wants_hidden();
    ForwardResult result = model_->forward(items, options);
    Level level{HostLogits(std::move(result.logits))};
    if (!options.tap_final) return level;
    at::Tensor states = std::move(result.final_state);
    if (rows) states = states.index_select(0, at::tensor(*rows).to(states.device()));
    level.states = states.to(at::kCPU, at::kFloat).contiguous();
    return level;
  }

  Level forward_level(std::span<Growth* const> active) {
    std::vector<ForwardItem> items;
    for (Growth* growth : active) {
      std::vector<DraftNode> rows;
      for (const NodeId node : growth->frontier) {
        const NodeId parent = growth->tree.node(node).parent;
        rows.push_back({growth->tree.node(node).token, parent == kAnchor ? kAnchor : row_of(*growth, parent)});
        growth->forwarded.push_back(node);
      }
      items.push_back(growth->session.grow(rows));
    }
    return forward(items, *active.front());
  }

  static NodeId row_of(const Growth& growth, NodeId node) {
    const auto it = std::find(growth.forwarded.begin(), growth.forwarded.end(), node);
    return static_cast<NodeId>(it - growth.forwarded.begin()) + 1;
  }

  // Adds the children of the frontier; its rows of logits start at `row`. Returns the row after them.
  int add_level(Growth& growth, int depth, Level& level, int row) {
    const int limit = node_limit(growth);
    const int next_row = row + static_cast<int>(growth.frontier.size());
    std::vector<std::optional<Law>> laws(growth.frontier.size());
    if (wants_laws(growth))
      for (std::size_t i = 0; i < laws.size(); ++i)
        laws[i] = ranking_law(growth, growth.frontier[i], level.logits.row(row + static_cast<int>(i)));
    const std::vector<int> widths = plan_level(growth, depth, laws, level.states, row);
    std::vector<NodeId> children;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const int width = std::min(widths[i], limit - (growth.tree.size() - 1));
      if (width > 0) add_children(growth, growth.frontier[i], level.logits, row + static_cast<int>(i), width, laws[i], children);
    }
    if (shape_ && shape_->beam()) keep_most_probable(growth, *shape_->beam(), children);
    growth.frontier = std::move(children);
    const bool room = growth.tree.size() - 1 < limit && growth.session.positions_left() >= depth;
    growth.done = growth.frontier.empty() || depth >= growth.context.budget.depth || !room;
    return next_row;
  }

  // A draft of point masses may grow beyond its budget, for the shape to choose from.
  int node_limit(const Growth& growth) const {
    const int nodes = growth.context.budget.nodes;
    return shape_ && chooses(growth) ? std::max(nodes, shape_->grown_nodes()) : nodes;
  }
  bool chooses(const Growth& growth) const { return growth.sampler.greedy() || options_.method == "top_k"; }

  static void keep_most_probable(const Growth& growth, int count, std::vector<NodeId>& nodes) {
    if (static_cast<int>(nodes.size()) <= count) return;
    const auto path = [&](NodeId node) { return growth.path_probability[static_cast<std::size_t>(node)]; };
    std::stable_sort(nodes.begin(), nodes.end(), [&](NodeId a, NodeId b) { return path(a) > path(b); });
    nodes.resize(static_cast<std::size_t>(count));
    std::sort(nodes.begin(), nodes.end());
  }

  bool wants_laws(const Growth& growth) const { return growth.context.policy.wants_laws() || (shape_ && shape_->wants_laws()); }

  // The states' row of the first frontier node is `row`.
  std::vector<int> plan_level(Growth& growth, int depth, const std::vector<std::optional<Law>>& laws, const at::Tensor& states, int row) {
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
    if (states.defined()) {
      const at::Tensor state = states[row + static_cast<std::int64_t>(best)];
      step.hidden = {state.const_data_ptr<float>(), static_cast<std::size_t>(state.numel())};
    }
    if (!growth.context.policy.go_on(step)) return std::vector<int>(nodes.size(), 0);
    if (!shape_) return std::vector<int>(nodes.size(), 1);
    growth.path_probability.resize(static_cast<std::size_t>(growth.tree.size()), 1.0);
    return shape_->expand({depth, nodes, node_limit(growth) - (growth.tree.size() - 1), growth.tree, growth.path_probability});
  }

  void add_children(Growth& growth, NodeId parent, HostLogits& logits, int row, int width, const std::optional<Law>& ranking,
                    std::vector<NodeId>& children) {
    const auto note = [&](NodeId node, double probability) {
      if (std::find(children.begin(), children.end(), node) == children.end()) children.push_back(node);
      growth.path_probability.resize(static_cast<std::size_t>(growth.tree.size()), 1.0);
      growth.path_probability[static_cast<std::size_t>(node)] = growth.path_probability[static_cast<std::size_t>(parent)] * probability;
    };
    if (chooses(growth)) {
      for (const Token token : top_tokens(growth, parent, logits, row, width))
        note(growth.tree.choose(parent, token, growth.context.vocab), ranking ? (*ranking)[token] : 1.0);
      return;
    }
    const LawId id = growth.tree.add_law(drawing_law(growth, parent, logits.row(row)),
                                         options_.replacement ? Draws::IndependentDraws : Draws::WithoutReplacement);
    std::optional<Law> q = growth.tree.law(id).q;
    for (int i = 0; i < width && q; ++i) {
      const Token token = q->draw(growth.context.rng);
      note(growth.tree.propose(parent, token, id), growth.tree.law(id).q[token]);
      if (!options_.replacement) q = without(*q, token);
    }
  }

  std::vector<Token> top_tokens(const Growth& growth, NodeId node, HostLogits& logits, int row, int width) const {
    if (width == 1 && !growth.sampler.adjusts()) return {logits.argmax(row)};
    return highest(adjusted(growth, node, logits.row(row)), width);
  }

  static std::vector<float> adjusted(const Growth& growth, NodeId node, std::span<const float> row) {
    std::vector<float> out(row.begin(), row.end());
    const Tokens path = growth.tree.path(node);
    growth.sampler.adjust(out, {growth.context.request.prompt, growth.context.generated(), path});
    return out;
  }

  static Law drawing_law(const Growth& growth, NodeId node, std::span<const float> row) {
    return growth.sampler.adjusts() ? growth.sampler.law(adjusted(growth, node, row)) : growth.sampler.law(row);
  }

  // What policies rank by: the draft's law, at temperature 1 where it is greedy.
  static Law ranking_law(const Growth& growth, NodeId node, std::span<const float> row) {
    if (!growth.sampler.greedy()) return drawing_law(growth, node, row);
    SamplingOptions plain = growth.sampler.options();
    plain.temperature = 1.0;
    return Sampler(plain, growth.context.vocab).law(adjusted(growth, node, row));
  }

  // Lets the tree policy choose among point masses. A drawn token may never be dropped for what it turned out to be.
  DraftTree select(Growth growth) {
    const DraftTree& tree = growth.tree;
    for (LawId id = 0; id < tree.num_laws(); ++id)
      if (tree.law(id).kind != Draws::PointMass) return std::move(growth.tree);
    if (!shape_ || tree.size() == 1) return std::move(growth.tree);
    growth.path_probability.resize(static_cast<std::size_t>(tree.size()), 1.0);
    const int nodes = growth.context.budget.nodes;
    const std::vector<NodeId> kept = shape_->select(tree, growth.path_probability, nodes);
    if (kept.empty()) {
      FORETELL_CHECK(tree.size() - 1 <= nodes, "the tree policy grew {} nodes and chose none; {} are allowed", tree.size() - 1, nodes);
      return std::move(growth.tree);
    }
    return tree.pruned(kept);
  }

  Options options_;
  std::shared_ptr<const LanguageModel> model_;
  std::unique_ptr<TreePolicy> shape_;
  std::map<SlotId, ModelSession> sessions_;
};

FORETELL_REGISTER(Drafter, ModelDrafter, "model", {.summary = "a smaller model drafts a chain or a tree"});

}  // namespace
}  // namespace foretell
