// The forward pass of a few rows through a plain model, in one parallel region.
//
// Contract: to the bit what the layers compute one operator after the other, whose kernels it calls, for up to
// kernels::kRegionRows rows. Plain: on the CPU, float32 or bfloat16, every layer DecoderLayer::is_plain(), no rounded
// cache. Where a forward pass asks for more than logits it is not for this. Buffers of rows are kept by the thread that
// asks.
//
// Why: a pass of a small model is a hundred operators of some microseconds. Each of them by itself costs a parallel
// region, which waits for its slowest thread, a tensor and a visit to LibTorch's dispatcher.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "framework/kernels/row_products.h"
#include "framework/model/batch_plan.h"
#include "framework/model/decoder_layer.h"
#include "framework/model/model_parts.h"

namespace foretell::model {

class PlainForward {
 public:
  // Of a model's parts, all of which it shares; nothing where they are not plain.
  static std::optional<PlainForward> of(const formats::ModelConfig& config, const at::Tensor& embedding,
                                        std::span<const DecoderLayer> layers, const Norm& final_norm,
                                        const Linear& head);

  // Whether it is for these rows.
  bool takes(std::span<const ForwardItem> batch, const BatchPlan& plan, const ForwardOptions& options,
             LayerRange layers) const;
  // Writes keys and values to the items' caches, whose lengths are the caller's business. -> the logits of the rows
  // that are listed (all: without a list), float32; undefined if there are none.
  at::Tensor run(std::span<const ForwardItem> batch, const BatchPlan& plan, LayerRange layers,
                 const std::optional<std::vector<std::int64_t>>& logit_rows) const;

 private:
  struct Layer {
    DecoderLayer own;
    kernels::Product qkv, output, up, down;  // without a number of rows
  };
  template <class T>
  class Pass;

  PlainForward() = default;
  int threads_for(int rows, int logit_rows, LayerRange layers) const;

  at::Tensor embedding_;
  std::vector<Layer> layers_;
  Norm final_norm_;
  Linear head_matrix_;
  kernels::Product head_;  // likewise
};

// On so many threads plain models are computed so from now on, 0: never; without an argument the default again. For
// tests.
void assume_plain_forward(std::optional<int> threads);

}  // namespace foretell::model
