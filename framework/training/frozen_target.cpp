#include "framework/training/frozen_target.h"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include "framework/core/types.h"

namespace foretell::training {

void FrozenTarget::read(autograd::TrainBatch& batch) const {
  if (wanted_.empty()) return;
  model::ForwardResult result;
  {
    const c10::InferenceMode inference;
    const at::Tensor ids = batch.tokens.to(at::kCPU, at::kInt).contiguous();
    const TokenSpan tokens(ids.const_data_ptr<Token>(), static_cast<std::size_t>(ids.numel()));
    std::vector<std::unique_ptr<model::KvCache>> caches;
    std::vector<model::ForwardItem> items;
    for (const autograd::RowGroup& group : batch.groups) {
      for (std::int64_t i = 0; i < group.sequences; ++i) {
        caches.push_back(model_->make_cache(static_cast<int>(group.length)));
        items.push_back({tokens.subspan(static_cast<std::size_t>(group.first_row + i * group.length),
                                        static_cast<std::size_t>(group.length)),
                         model::ChainShape{}, caches.back().get(), model::LogitRows::None});
      }
    }
    model::ForwardOptions options;
    options.aux_states = wanted_.aux_states;
    options.return_final_state = wanted_.final_state;
    result = model_->forward(items, options);
  }
  // Tensors of inference mode cannot be part of a graph; copies can.
  const auto copy = [](const at::Tensor& state) { return state.to(at::kFloat, false, true); };
  for (const at::Tensor& state : result.aux_states) batch.target.aux_states.push_back(copy(state));
  if (result.final_state.defined()) batch.target.final_state = copy(result.final_state);
}

}  // namespace foretell::training
