// Which of a model's layers take part in a forward.
//
// Contract: layers count from 0. A LayerRange is half open. A LayerSet has one bit for each layer's attention and one
// for its MLP; a sublayer that is left out passes the residual stream through unchanged (Draft & Verify, Zhang et al.
// 2023, arXiv 2309.08168).
#pragma once

#include <optional>
#include <vector>

#include "framework/core/error.h"

namespace foretell::model {

struct LayerRange {
  int first = 0;
  int last = 0;  // one past the end
  bool empty() const { return first >= last; }
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

class LayerSet {
 public:
  static LayerSet all(int num_layers) { return LayerSet(num_layers); }
  // The first `count` layers of a model of `num_layers`: an early exit.
  static LayerSet first(int count, int num_layers) {
    FORETELL_CHECK(count >= 0 && count <= num_layers, "count {} of {}", count, num_layers);
    LayerSet set(num_layers);
    for (int layer = count; layer < num_layers; ++layer) set.attention_[layer] = set.mlp_[layer] = false;
    return set;
  }

  int num_layers() const { return static_cast<int>(attention_.size()); }
  bool attention(int layer) const { return attention_[layer]; }
  bool mlp(int layer) const { return mlp_[layer]; }
  void set_attention(int layer, bool computed) { attention_[layer] = computed; }
  void set_mlp(int layer, bool computed) { mlp_[layer] = computed; }

  // e if exactly the layers [0, e) are computed, both sublayers of each. Rows computed with such a set can be finished
  // later from layer e on; rows computed with any other set have to be computed again.
  std::optional<int> prefix_layers() const {
    int length = 0;
    while (length < num_layers() && attention_[length] && mlp_[length]) ++length;
    for (int layer = length; layer < num_layers(); ++layer)
      if (attention_[layer] || mlp_[layer]) return std::nullopt;
    return length;
  }

  friend bool operator==(const LayerSet&, const LayerSet&) = default;

 private:
  explicit LayerSet(int num_layers) : attention_(num_layers, true), mlp_(num_layers, true) {}

  std::vector<bool> attention_;
  std::vector<bool> mlp_;
};

// Where the rows of one layer were sent.
struct RoutedLayer {
  int layer = 0;
  std::vector<int> rows = {};     // of the forward, that came to the layer; empty: all
  int per_row = 0;                // entries of a row
  std::vector<int> experts = {};  // [rows, per_row]; -1: none

  // By expert how many rows it got.
  std::vector<int> load(int num_experts) const {
    std::vector<int> out(static_cast<std::size_t>(num_experts));
    for (const int expert : experts)
      if (expert >= 0) ++out.at(static_cast<std::size_t>(expert));
    return out;
  }
};

}  // namespace foretell::model
