#include "framework/decoding/bases/model_source.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <optional>

#include "framework/api/policy.h"
#include "framework/core/error.h"
#include "framework/decoding/target_view.h"

namespace foretell::bases {
namespace {

constexpr int kPrefillChunk = 512;

// Of a tree whose first node is the root, the first child of a node with this token, or with any.
std::optional<std::size_t> child_of(const std::vector<DraftNode>& tree, std::size_t at, std::optional<Token> token) {
  for (std::size_t node = at + 1; node < tree.size(); ++node)
    if (tree[node].parent == static_cast<NodeId>(at) && (!token || tree[node].token == *token)) return node;
  return std::nullopt;
}

}  // namespace

// What one forward of a level is made of.
struct ModelSource::Rows {
  // Whose rows an item has: `first` to `first + count` of the forward, the last `answered` of them with logits.
  struct Owner {
    Sequence* sequence;
    const DraftContext* context;
    int first, count, answered;
  };
  std::vector<model::ForwardItem> items = {};
  std::vector<Owner> owners = {};
  std::vector<std::int64_t> with_logits = {};  // of all rows of the forward
  int rows = 0;

  void add(model::ForwardItem item, Sequence& sequence, const DraftContext& context, int count, int answered) {
    item.exit.request = context.request.id;
    item.exit.generated = static_cast<int>(context.generated().size());
    item.exit.max_new_tokens = context.request.max_new_tokens;
    items.push_back(std::move(item));
    owners.push_back({&sequence, &context, rows, count, answered});
    for (int row = count - answered; row < count; ++row) with_logits.push_back(rows + row);
    rows += count;
  }
};

NodeId ModelSource::Sequence::row_of(NodeId node) const {
  if (node == kAnchor) return kAnchor;
  return static_cast<NodeId>(std::find(forwarded.begin(), forwarded.end(), node) - forwarded.begin()) + 1;
}

void ModelSource::begin(SlotId slot, const PromptView& prompt, int most_nodes) {
  SessionAttention attention{rules_.attention ? rules_.attention->fresh() : nullptr,
                             static_cast<int>(prompt.tokens.size())};
  sequences_.erase(slot);
  if (cache_ != DraftCache::Own) {
    sequences_.emplace(slot, Sequence{ModelSession(*model_, std::move(attention)), most_nodes});
    return;
  }
  // A text may take more of the draft's tokens than of the target's: then its context is what bounds it.
  const int context = model_->config().context;
  const auto reach =
      (static_cast<std::int64_t>(prompt.tokens.size()) + prompt.request.max_new_tokens) * (vocabulary_ ? 4 : 1);
  const int capacity = static_cast<int>(std::min<std::int64_t>(reach, context)) + most_nodes + 1;
  sequences_.emplace(slot, Sequence{ModelSession(*model_, capacity, std::move(attention)), most_nodes});
}

TokenSpan ModelSource::own_tokens(Sequence& sequence, TokenSpan committed) const {
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

LevelRows ModelSource::level(std::span<const LevelRequest> batch, int depth) {
  LevelRows out;
  Rows rows;
  int next = 0;
  for (const LevelRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.context.slot);
    const bool goes_on = depth == 1 ? start(sequence, request.context, rows) : grow(sequence, request, depth, rows);
    for (std::size_t i = 0; i < request.frontier.size(); ++i) out.row_of.push_back(goes_on ? next++ : LevelRows::kNone);
  }
  if (rows.items.empty()) return out;
  const bool wants_states = batch.front().context.policy.wants_hidden_states();
  model::ForwardResult result = forward(rows, wants_states);
  note_exits(rows, result);
  out.logits = decoding::HostLogits(std::move(result.logits));
  if (!wants_states) return out;
  at::Tensor states = std::move(result.final_state);
  if (static_cast<int>(rows.with_logits.size()) < rows.rows)
    states = states.index_select(0, at::tensor(rows.with_logits).to(states.device()));
  out.states = states.to(at::kCPU, at::kFloat).contiguous();
  return out;
}

model::ForwardResult ModelSource::forward(Rows& rows, bool wants_states) const {
  const decoding::ExitSettings& exits = rules_.exits;
  const model::ExitRules exit_rules{exits.policy.get(), exits.heads.get(), exits.kv};
  model::ForwardOptions options;
  options.return_final_state = wants_states;
  rules_.apply(options);
  if (exit_rules.policy) options.exits = &exit_rules;
  if (cache_ == DraftCache::Provisional) rows.owners.front().context->target->ask(options);
  options.return_last_state |= waits();
  for (model::ForwardItem& item : rows.items) item.exit.finish = item.exit.owed + 1 > exits.max_pending;
  model::ForwardResult result = model_->forward(rows.items, options);
  for (const Rows::Owner& owner : rows.owners) {
    if (cache_ == DraftCache::Provisional) owner.context->target->take(result, owner.first);
    if (waits()) owner.sequence->session.take(result, owner.first, owner.count);
  }
  return result;
}

// Of the rows that are answered, in the order of Sequence::rows.
void ModelSource::note_exits(const Rows& rows, const model::ForwardResult& result) const {
  if (!rules_.exits.policy) return;
  for (const Rows::Owner& owner : rows.owners) {
    Sequence& sequence = *owner.sequence;
    const auto anchor = static_cast<int>(owner.context->committed.size()) - 1;
    std::vector<int> depths;
    for (const DraftNode& row : sequence.rows)
      depths.push_back(depths.empty() ? 0 : depths[static_cast<std::size_t>(row.parent)] + 1);
    for (int i = owner.first + owner.count - owner.answered; i < owner.first + owner.count; ++i) {
      const std::size_t own = sequence.left.size();
      const ExitRow row{owner.context->request.id,
                        i,
                        anchor + depths.at(own),
                        static_cast<int>(owner.context->generated().size()) + depths.at(own),
                        owner.context->request.max_new_tokens,
                        own > 0};
      sequence.left.push_back({row, result.left.at(static_cast<std::size_t>(i)), {}});
    }
  }
}

void ModelSource::drafted(SlotId slot, const DraftTree& draft) {
  if (!rules_.exits.policy) return;
  std::vector<DraftNode>& own = sequences_.at(slot).draft;
  own.clear();
  for (NodeId node = 0; node < draft.size(); ++node) own.push_back(draft.node(node));
}

void ModelSource::observe(std::span<const RoundView> rounds) {
  if (!rules_.exits.policy) return;
  std::vector<ExitRecord> judged;
  for (const RoundView& round : rounds) {
    const auto found = sequences_.find(round.slot);
    if (found == sequences_.end()) continue;
    Sequence& sequence = found->second;
    // Down the accepted path, as far as this draft has it.
    std::optional<std::size_t> row = sequence.left.empty() ? std::nullopt : std::optional<std::size_t>(0);
    std::size_t at = 0;
    for (std::size_t depth = 0; row && *row < sequence.left.size(); ++depth) {
      const bool more = depth < round.verdict.accepted.size();
      const Token token = more ? round.draft.node(round.verdict.accepted[depth]).token : Token{-1};
      if (!child_of(sequence.draft, at, std::nullopt)) break;
      const auto child = more ? child_of(sequence.draft, at, token) : std::nullopt;
      judged.push_back(sequence.left[*row]);
      judged.back().agreed = child.has_value();
      if (!child) break;
      at = *child;
      row = child_of(sequence.rows, *row, token);
    }
    sequence.left.clear();  // another round may draft without it
  }
  if (!judged.empty()) rules_.exits.policy->observe(judged);
}

// Brings the cache into step; a row of logits behind the committed text. False where there is no room for a draft.
bool ModelSource::start(Sequence& sequence, const DraftContext& context, Rows& rows) {
  ModelSession& session = sequence.session;
  sequence.forwarded.clear();
  sequence.left.clear();
  sequence.rows.assign(1, {context.committed.back(), kAnchor});
  const TokenSpan text = own_tokens(sequence, context.committed);
  if (static_cast<int>(text.size()) > model_->config().context) return false;
  FORETELL_CHECK(cache_ == DraftCache::Own || context.target, "no target lends a cache for {} tokens", text.size());
  if (cache_ == DraftCache::Provisional) {
    context.target->drop_provisional();  // another drafter's of this round
    rows.add(context.target->provisional(sequence.rows), sequence, context, 1, 1);
    return true;
  }
  if (cache_ == DraftCache::Lent) {
    session.borrow(context.target->lend(), text);
  }
  TokenSpan missing = text.subspan(static_cast<std::size_t>(session.align(text)));
  if (static_cast<int>(missing.size()) + sequence.most_nodes > session.room()) return false;
  model::ForwardOptions options;
  rules_.apply(options);
  for (; missing.size() > kPrefillChunk; missing = missing.subspan(kPrefillChunk))
    model_->forward(session.extend(missing.first(kPrefillChunk), model::LogitRows::None), options);
  rows.add(session.extend(missing, model::LogitRows::Last), sequence, context, static_cast<int>(missing.size()), 1);
  return true;
}

// Rows for the frontier. False where its position is beyond the model's context.
bool ModelSource::grow(Sequence& sequence, const LevelRequest& request, int depth, Rows& rows) const {
  const bool provisional = cache_ == DraftCache::Provisional;
  const int left = provisional ? model_->config().context - static_cast<int>(request.context.committed.size())
                               : sequence.session.positions_left();
  if (left < depth - 1) return false;
  std::vector<DraftNode> nodes;
  for (const NodeId node : request.frontier) {
    const DraftNode& drafted = request.tree.node(node);
    nodes.push_back({own_token(drafted.token), sequence.row_of(drafted.parent)});
    sequence.forwarded.push_back(node);
  }
  sequence.rows.insert(sequence.rows.end(), nodes.begin(), nodes.end());
  const auto count = static_cast<int>(nodes.size()), owed = provisional ? 0 : sequence.session.owed();
  rows.add(provisional ? request.context.target->provisional(nodes) : sequence.session.grow(nodes), sequence,
           request.context, owed + count, count);
  return true;
}

}  // namespace foretell::bases
