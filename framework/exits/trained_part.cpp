#include "framework/exits/trained_part.h"

#include "framework/core/error.h"

namespace foretell::exits {

void TrainedPart::declare(Parameters& p) {
  where_ = p.where();
  p.add(key_, path_, "a folder with " + file_name_ + ", or such a file; random: untrained, for tests. Has no default");
}

void TrainedPart::require() const {
  if (!path_) fail_at(where_, "{}: the key '{}' is missing (a folder with {})", policy_, key_, file_name_);
}

std::vector<int> TrainedPart::layers(const ExitLayers& chosen, int num_layers,
                                     const std::function<bool(int)>& has) const {
  std::vector<int> asked = chosen.of(num_layers);
  if (chosen.layers.empty()) std::erase_if(asked, [&](int layer) { return !has(layer); });
  for (const int layer : asked)
    if (!has(layer)) fail_at(where_, "{}: {} has no {} behind layer {}", policy_, *path_, key_, layer);
  if (asked.empty()) fail_at(where_, "{}: {} has no {} of a layer of this model", policy_, *path_, key_);
  return asked;
}

}  // namespace foretell::exits
