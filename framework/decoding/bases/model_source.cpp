#include "framework/decoding/bases/model_source.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "framework/api/policy.h"
#include "framework/core/error.h"
#include "framework/decoding/target_view.h"

namespace foretell::bases {
namespace {

constexpr int kPrefillChunk = 512;

}  // namespace

// What one forward of a level is made of.
struct ModelSource::Rows {
  std::vector<model::ForwardItem> items = {};
  std::vector<std::int64_t> with_logits = {};  // of all rows of the forward
  int rows = 0;

  void add(model::ForwardItem item, int count, bool only_last) {
    items.push_back(std::move(item));
    for (int row = only_last ? count - 1 : 0; row < count; ++row) with_logits.push_back(rows + row);
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
  if (lent_) {
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
  model::ForwardOptions options;
  options.return_final_state = batch.front().context.policy.wants_hidden_states();
  rules_.apply(options);
  model::ForwardResult result = model_->forward(rows.items, options);
  out.logits = decoding::HostLogits(std::move(result.logits));
  if (!options.return_final_state) return out;
  at::Tensor states = std::move(result.final_state);
  if (static_cast<int>(rows.with_logits.size()) < rows.rows)
    states = states.index_select(0, at::tensor(rows.with_logits).to(states.device()));
  out.states = states.to(at::kCPU, at::kFloat).contiguous();
  return out;
}

// Brings the cache into step; a row of logits behind the committed text. False where there is no room for a draft.
bool ModelSource::start(Sequence& sequence, const DraftContext& context, Rows& rows) {
  ModelSession& session = sequence.session;
  sequence.forwarded.clear();
  const TokenSpan text = own_tokens(sequence, context.committed);
  if (static_cast<int>(text.size()) > model_->config().context) return false;
  if (lent_) {
    FORETELL_CHECK(context.target, "no target lends a cache for {} tokens", text.size());
    session.borrow(context.target->lend(), text);
  }
  TokenSpan missing = text.subspan(static_cast<std::size_t>(session.align(text)));
  if (static_cast<int>(missing.size()) + sequence.most_nodes > session.room()) return false;
  model::ForwardOptions options;
  rules_.apply(options);
  for (; missing.size() > kPrefillChunk; missing = missing.subspan(kPrefillChunk))
    model_->forward(session.extend(missing.first(kPrefillChunk), model::LogitRows::None), options);
  rows.add(session.extend(missing, model::LogitRows::Last), static_cast<int>(missing.size()), true);
  return true;
}

// Rows for the frontier. False where its position is beyond the model's context.
bool ModelSource::grow(Sequence& sequence, const LevelRequest& request, int depth, Rows& rows) const {
  if (sequence.session.positions_left() < depth - 1) return false;
  std::vector<DraftNode> nodes;
  for (const NodeId node : request.frontier) {
    const DraftNode& drafted = request.tree.node(node);
    nodes.push_back({own_token(drafted.token), sequence.row_of(drafted.parent)});
    sequence.forwarded.push_back(node);
  }
  rows.add(sequence.session.grow(nodes), static_cast<int>(nodes.size()), false);
  return true;
}

}  // namespace foretell::bases
