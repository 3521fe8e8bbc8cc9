#include "framework/model/layers.h"

#include "framework/core/error.h"

namespace foretell::model {

LayerSet LayerSet::first(int count, int num_layers) {
  FORETELL_CHECK(count >= 0 && count <= num_layers, "count {} of {}", count, num_layers);
  LayerSet set(num_layers);
  for (int layer = count; layer < num_layers; ++layer) set.attention_[layer] = set.mlp_[layer] = false;
  return set;
}

std::optional<int> LayerSet::prefix_layers() const {
  int length = 0;
  while (length < num_layers() && attention_[length] && mlp_[length]) ++length;
  for (int layer = length; layer < num_layers(); ++layer)
    if (attention_[layer] || mlp_[layer]) return std::nullopt;
  return length;
}

}  // namespace foretell::model
