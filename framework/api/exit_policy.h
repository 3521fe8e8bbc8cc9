/// @file
/// Where a row of a forward pass leaves the model before its last layer.
///
/// Contract: a policy names the layers at which it is asked (layers()) and what it looks at there
/// (wants()). It is asked at these layers alone, about all rows of the batch at once that have come so
/// far, and what it does not look at is not computed: logits cost the model's head over the whole vocabulary, for every
/// row at every layer that is asked. A row that leaves is answered by the head at that layer. The same object serves
/// every forward pass of a target or drafter, one after the other, and all sequences of its batches; what it remembers
/// of a row it keeps by ExitRow::row within a forward pass, and by ExitRow::request beyond. Rows that are not answered,
/// as those of a prompt, never leave. Whether a row leaves depends on nothing but that row and what was observed
/// before, unless row_independent() says otherwise: then the same text comes out alone and in any batch.
///
/// Includes no LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "framework/core/registry.h"
#include "framework/core/types.h"

namespace foretell {

/// A row that may leave.
struct ExitRow {
  std::uint64_t request;  ///< the id of the request that it belongs to
  int row;                ///< its number in the forward pass, the same at all layers
  int position;           ///< in the text, from 0
  int generated;          ///< tokens of the answer up to the row, those drafted above it included
  int max_new_tokens;     ///< that it can be answered with
  bool drafted;           ///< a draft token; else the last committed one
};

/// What a policy looks at. Nothing costs nothing.
struct ExitWants {
  bool logits = false;             ///< of the head at that layer, over the vocabulary
  bool states = false;             ///< hidden states, un-normed, and those at the layer asked before
  std::vector<Token> tokens = {};  ///< if there are any: logits of these alone, and only they are computed
};

/// One layer at which a policy is asked.
struct ExitProbe {
  int layer;                      ///< how many layers the rows have behind them, from 1
  bool first;                     ///< of this forward pass: nothing was asked about these rows before
  std::span<const ExitRow> rows;  ///< the rows that have not left, in the order of their numbers
  std::span<const float> logits;  ///< [rows, vocab] or [rows, ExitWants::tokens], raw; empty if not wanted
  std::span<const float> states;  ///< [rows, hidden]; empty if not wanted
  std::span<const float>
      previous;  ///< [rows, hidden], at the layer asked before; empty if not wanted, and at the first

  /// The part of a [rows, ...] span that belongs to row `index` of `rows`.
  std::span<const float> of(std::span<const float> values, std::size_t index) const {
    const std::size_t width = rows.empty() ? 0 : values.size() / rows.size();
    return values.subspan(index * width, width);
  }
};

/// How a row left, in hindsight.
struct ExitRecord {
  ExitRow row;  ///< as it was asked about
  int layer;    ///< how many layers it had behind it
  /// Of a row that a draft was made from: whether verification took a token that was drafted behind it. None where it
  /// is not known yet, and where nothing was drafted.
  std::optional<bool> agreed;
};

/// What stands in the KV cache for the layers that a row did not go through.
enum class KvRule {
  Propagate,  ///< keys and values of the hidden state that it left with (CALM, Schuster et al. 2022, arXiv 2207.07061)
  Copy,       ///< the keys and values of its last layer (Liu et al. 2024, arXiv 2404.06954)
  Recompute,  ///< the layers' own, computed when a later row goes so deep (EE-LLM, Chen et al. 2023, arXiv 2312.04916)
  Hole        ///< nothing: these layers do not see the row (D-LLM, Jiang et al. 2024)
};

/// Decides which rows of a forward pass leave at a layer.
class ExitPolicy : public Strategy {
 public:
  /// Where it is asked in a model of so many layers: increasing numbers of layers that the rows have behind them, from
  /// 1 to num_layers - 1. None: never.
  virtual std::vector<int> layers(int num_layers) const = 0;
  /// What it looks at.
  virtual ExitWants wants() const = 0;
  /// Sets leaves[i] for each of probe.rows that leaves; all are 0 before.
  virtual void decide(const ExitProbe& probe, std::span<char> leaves) = 0;
  /// How the rows of a forward pass left, when it has ended; and once more, with `agreed`, those that a draft was made
  /// from, when it was judged.
  virtual void observe(std::span<const ExitRecord>) {}
  /// Whether a row's exit depends on that row alone. A policy that looks at its neighbours (the least confident of the
  /// batch) says no, and its answers depend on the batch.
  virtual bool row_independent() const { return true; }
};

/// @cond
template <>
Registry<ExitPolicy>& Registry<ExitPolicy>::instance();
template <>
const char* Registry<ExitPolicy>::kind();
template <>
std::unique_ptr<ExitPolicy> Registry<ExitPolicy>::guard(const PluginStrategy& who,
                                                        std::unique_ptr<ExitPolicy> strategy);
/// @endcond

}  // namespace foretell
