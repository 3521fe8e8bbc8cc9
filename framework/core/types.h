/// @file
/// The few integer types that every part of Foretell shares.
///
/// Contract: a Token is an id in [0, vocab_size). A NodeId is an index into one round's draft; node 0 is always the
/// anchor (the last committed token). There is no "no token" or "no node" value: absence is std::optional or an empty
/// span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace foretell {

/// An id in [0, vocab_size).
using Token = std::int32_t;
/// A text as token ids.
using Tokens = std::vector<Token>;
/// A text that somebody else owns.
using TokenSpan = std::span<const Token>;

/// An index into one round's draft.
using NodeId = std::int32_t;
using SlotId = std::int32_t;  ///< a running sequence's place in the batch; reused after the sequence has been retired

/// Node 0: the last committed token, the root of the draft tree.
inline constexpr NodeId kAnchor = 0;

}  // namespace foretell
