// The keys and values (or whatever a model keeps instead) of one sequence.
//
// Contract: allocated once with a fixed capacity in rows. Each layer has its own length, because a drafter may have run
// only the first layers of the target: rows in layers [0, e) can be ahead of the rest. Rows lie in the order in which
// they were forwarded; a row's position in the text is the model's business. Only sessions (framework/decode) call the
// functions that change a cache. Keys are stored rotated.
#pragma once

#include <cstddef>
#include <span>

#include "framework/model/layers.h"

namespace foretell::model {

class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual int num_layers() const = 0;
  virtual int capacity() const = 0;
  // The rows that all layers of a range hold. The range must not be empty; its layers must agree (else InternalError).
  virtual int length(LayerRange layers) const = 0;
  // Drops all rows from `length` on in the range's layers; layers that hold fewer stay as they are.
  virtual void truncate(LayerRange layers, int length) = 0;
  // Keeps rows [0, base) and then base + rows[0], base + rows[1], ... (strictly increasing), moved together; drops all
  // others.
  virtual void keep(LayerRange layers, int base, std::span<const int> rows) = 0;
  // Every layer holds at least `length` rows from now on. Those that a layer did not hold are there without keys and
  // values: a row must not see them before they are written.
  virtual void pad(int length) = 0;
  virtual std::size_t bytes() const = 0;

  int length() const { return length({0, num_layers()}); }
  void truncate(int length) { truncate({0, num_layers()}, length); }
  void keep(int base, std::span<const int> rows) { keep({0, num_layers()}, base, rows); }
};

}  // namespace foretell::model
