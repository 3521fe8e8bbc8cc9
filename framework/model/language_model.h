// What every language model can do: one forward over the rows of any number of sequences.
//
// Contract: a LanguageModel is weights and nothing else. It is const after loading and may be shared by any number of
// sequences; everything that changes comes in through ForwardItem::cache. The batch is flat: the rows of all items are
// concatenated for the linear layers and each item's rows attend to that item's own cache. A batch of one is the span
// of one; there is no padding and no second path.
//
// Row i of an item is written to cache row length + i in every layer of the forward, then the cache's length grows by
// the item's rows in these layers. The caller checks room (capacity - length) first: a row too many is an
// InternalError, because a user's mistake is found earlier.
//
// Rows of one forward may enter and leave at different layers (ForwardItem::enters, leaves). A layer computes the rows
// that have entered and not left, and nothing else. A row keeps one index in all layers of the cache: one that enters
// above the first layer is in the cache already, and one that leaves early is there in the layers above as well, with
// keys and values of the state that it left with, or what KvRule says.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/api/router.h"
#include "framework/core/types.h"
#include "framework/formats/model_config.h"
#include "framework/model/kv_cache.h"
#include "framework/model/layers.h"
#include "framework/model/model_parts.h"

namespace foretell::model {

class ForwardProbe;

// Tokens; or rows [rows, hidden] that enter layer ForwardOptions::layers.first: embeddings at layer 0, a stored state
// above it.
using Input = std::variant<TokenSpan, at::Tensor>;

// How an item's rows follow one another. All of them see the whole cache below the item's rows, or what an attention
// policy leaves of it.
struct ChainShape {};  // row 0 follows the cache, row i follows row i - 1

struct TreeShape {
  // parents[i] < i is the row that row i follows; row 0 (the anchor) follows the cache and its entry is 0. A row sees
  // its ancestors and itself.
  std::span<const NodeId> parents;
  // The first rows of the tree that the cache already holds and that this forward does not compute. They are not part
  // of the input, which starts with row `cached_rows`.
  int cached_rows = 0;
};

struct MaskedShape {           // block drafters, drafters that share the target's keys
  std::vector<int> positions;  // absolute, one a row
  at::Tensor visible;          // bool [rows, rows]: which of the item's own rows each row sees
};

using Shape = std::variant<ChainShape, TreeShape, MaskedShape>;

enum class LogitRows { None, Last, All };  // a long prefill never materialises [rows, vocab]

struct ItemAttention {
  AttentionPolicy* policy = nullptr;  // none: everything is seen, and nothing is asked
  bool watched_only =
      false;  // everything is seen, and the policy gets the weights if it wants them: how a prompt is read
};

// What answers rows that leave early.
class ExitHeads {
 public:
  virtual ~ExitHeads() = default;
  // Of un-normed states behind so many layers.
  virtual const OutputHead& at(int layer) const = 0;
};

// Under which rules rows may leave before the last layer. Rows whose logits nobody asks for (LogitRows) are not asked
// about: a prompt's rows go through all layers.
struct ExitRules {
  ExitPolicy* policy = nullptr;      // that is asked; never null where there are rules
  const ExitHeads* heads = nullptr;  // null: the model's own head behind its final norm
  KvRule kv = KvRule::Propagate;
};

// What an exit policy is told of an item, and what the item owes.
struct ItemExit {
  std::uint64_t request = 0;
  int generated = 0, max_new_tokens = 0;
  // The first rows are computed for their keys and values alone: they are not asked about and have no logits. They
  // resume, and follow one another as a chain.
  int owed = 0;
  bool finish = false;  // under KvRule::Recompute: all rows go through all layers, whichever they are answered behind
};

struct ForwardItem {
  Input input;
  Shape shape = ChainShape{};
  KvCache* cache = nullptr;
  LogitRows logits = LogitRows::All;
  ItemAttention attention = {};
  // By row the layer that it enters; empty: the forward's first one. Rows that enter above it come first. They went
  // through the layers below in an earlier forward, so the cache holds them, and `input` has their states, of these
  // rows alone; the other rows are those of `tokens`.
  std::span<const int> enters = {};
  // By row how many of the model's layers it has behind it when it leaves; empty: all of the forward's.
  std::span<const int> leaves = {};
  TokenSpan tokens = {};  // beside states: of all rows
  ItemExit exit = {};
  bool scored = false;  // what RoutedItem::scored says
};

struct ForwardOptions {
  std::optional<LayerRange>
      layers;  // default: all. Logits after a range that ends early are the head applied there: an early exit
  std::optional<LayerSet> computed;  // default: every sublayer of the range
  std::vector<int> aux_states;       // 0: the embeddings, l: the state after decoder layer l (1 to num_layers)
  bool return_final_state = false;   // the final normed state, the head's input
  bool return_last_state = false;    // the un-normed state that a row stops with, to be finished later
  const ExitRules* exits = nullptr;  // null: rows leave where ForwardItem::leaves says, or nowhere
  const Router* router = nullptr;    // of mixtures of experts; null: the checkpoint's own
  bool trace_experts = false;        // whether routed is filled
  bool count_work = false;           // whether work is filled
  ForwardProbe* probe = nullptr;     // where the time goes (forward_probe.h); null: nothing is timed
};

// What was computed for one row.
struct RowWork {
  int layers = 0, experts = 0;  // experts: of all layers
  std::int64_t attended = 0;    // positions, of all layers
};

// Whether a forward with these options is the model's own, so that its rows can be finished later by another one.
inline bool own_rules(std::span<const ForwardItem> batch, const ForwardOptions& options) {
  const bool whole = !options.computed || *options.computed == LayerSet::all(options.computed->num_layers());
  return whole && options.router == nullptr && std::ranges::none_of(batch, [](const ForwardItem& item) {
           return item.attention.policy != nullptr && !item.attention.watched_only;
         });
}

// Tensors are on the model's device; rows are those of all items, concatenated in the items' order.
struct ForwardResult {
  LayerRange layers = {};  // that were run
  // By row how many of the model's layers it had behind it when it was answered, and when it stopped. The latter is
  // more only under KvRule::Recompute; if it is not all, the row is owed its keys and values in the layers above.
  std::vector<int> left = {}, reached = {};
  std::vector<int> probes = {};    // by row how often an exit policy looked at its logits
  std::vector<RowWork> work = {};  // by row if count_work
  // Whether every row went through its layers as the model has them: no sublayer left out, no other router, all of the
  // cache in sight. Only such rows can be finished later.
  bool own_rules = true;
  at::Tensor logits;                   // float32 [logit rows of all items, vocab]; undefined if no item asked for any
  std::vector<at::Tensor> aux_states;  // one a requested layer, in the order of the request: [rows, hidden]
  at::Tensor final_state;              // [rows, hidden] if tap_final
  at::Tensor last_state;               // [rows, hidden] if tap_last
  std::vector<RoutedLayer> routed;     // if trace_experts: the layers of the range that have experts
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual const formats::ModelConfig& config() const = 0;
  virtual std::unique_ptr<KvCache> make_cache(int capacity) const = 0;
  virtual ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions& options) const = 0;
  virtual at::Device device() const = 0;
  // The same model with rounded weights in its matrices and its head in int8, as a draft of itself; everything else is
  // shared. Null where there is no such form: off the CPU. An Error where a matrix cannot be rounded so.
  virtual std::shared_ptr<const LanguageModel> quantised(const WeightRounding&) const { return nullptr; }
  // What heads borrow; null where there is no such thing (a toy, a draft model in another model's vocabulary).
  virtual const ModelParts* parts() const { return nullptr; }

  ForwardResult forward(const ForwardItem& item, const ForwardOptions& options = {}) const {
    return forward(std::span(&item, 1), options);
  }
};

}  // namespace foretell::model
