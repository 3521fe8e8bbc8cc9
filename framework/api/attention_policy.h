/// @file
/// Which rows of its cache a sequence attends to.
///
/// Contract: one object belongs to one sequence and may remember what it saw; a fresh() one starts over with the same
/// options. It is asked in every layer of a forward which rows *below the item's own* are attended; the item's own rows
/// (of a tree also those that the cache holds already) are always seen, as far as their shape says. So the choice is
/// made once a forward and not once a row. Rows below the item's own hold the text in order: row r stands at position
/// r, and a window of rows is one of positions. Nothing is deleted: a policy saves reads of the cache, not memory.
///
/// Keys are stored rotated, at their positions in the text, and keep them. StreamingLLM (Xiao et al. 2023, arXiv
/// 2309.17453) counts positions within what it has kept instead, because its text outgrows the model's context; here
/// the context bounds the text, the cache is shared with full attention, and the distances to all rows that are left
/// stay what the model was trained with.
///
/// Includes no LibTorch.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "framework/core/registry.h"

namespace foretell {

/// What there is to choose from in one layer.
struct AttentionView {
  int layer;     ///< from 0
  int kv_heads;  ///< key-value heads
  int cached;    ///< rows below the item's own: what there is to choose from
  int rows;      ///< the item's own
};

/// Cache rows, strictly increasing, for every key head the same; or one such list a key head, one after the other and
/// of one length.
struct KvSelection {
  std::vector<int> rows = {};  ///< cached positions
  bool per_head = false;       ///< one list for each key-value head
};

/// What the queries of a forward looked at in one layer. Few of an item's queries may come at once, first ones first.
struct AttentionWeights {
  int layer;      ///< from 0
  int kv_heads;   ///< key-value heads
  int queries;    ///< rows of the item that are shown here
  int first_row;  ///< the cache row of the first query
  bool drafted;   ///< the queries are nodes of a tree, which is cut to a path (keep()) before anything follows it
  std::span<const int> columns;  ///< cache rows, as KvSelection has them, then the item's own
  bool columns_per_head;         ///< as in KvSelection
  std::span<const float>
      weights;  ///< [kv_heads, queries, columns]: softmax, summed over the query heads that share a key head
};

/// Selects the cached positions that a sequence attends to.
class AttentionPolicy : public Strategy {
 public:
  /// A policy with the same options for another sequence.
  virtual std::unique_ptr<AttentionPolicy> fresh() const = 0;
  /// The cached rows below the item's own that are attended in this layer.
  virtual KvSelection select_kv(const AttentionView& view) = 0;
  /// Weights cost a softmax that is written out, so they are handed over only where this says so.
  virtual bool wants_weights() const { return false; }
  /// The attention weights of a layer, if wants_weights().
  virtual void observe(const AttentionWeights&) {}
  /// The cache keeps rows [0, base) and then base + rows[0], base + rows[1], ... (strictly increasing), moved together.
  virtual void keep(int /*base*/, std::span<const int> /*rows*/) {}
};

/// @cond
template <>
Registry<AttentionPolicy>& Registry<AttentionPolicy>::instance();
template <>
const char* Registry<AttentionPolicy>::kind();
template <>
std::unique_ptr<AttentionPolicy> Registry<AttentionPolicy>::guard(const PluginStrategy& who,
                                                                  std::unique_ptr<AttentionPolicy> strategy);
/// @endcond

}  // namespace foretell
