// The heads of Hydra (Ankner et al. 2024, arXiv 2402.05109): Medusa's heads that see the tokens chosen before them; and
// of Hydra++, which reads the text through a decoder layer of its own first.
//
// Contract: as PathHead. Head i reads [state; E(t_0); ...; E(t_i)] with the target's embedding: res_connection(x) +
// SiLU(linear(x)), then residual blocks y + SiLU(W y + b), then its own matrix to the vocabulary, with a bias. The
// layer of Hydra++ is Llama's in the target's shape, with a norm behind it, on the target's final states; its output is
// the state then. Files are read in the published layout, as safetensors: hydra_mlp.{i}.1.res_connection and .linear,
// hydra_mlp.{i}.{3, 5, ...}.linear, hydra_lm_head.{i}.1, all with biases; prefix_embeding_layer.layers.0.* and .norm.
// How many heads and blocks there are the names say. A tensor that is missing, unknown or of another shape is an Error
// of one line that names it; so are heads that do not see the tokens (grounded_heads: false): Medusa's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/model/heads/head_tensors.h"
#include "framework/model/heads/path_head.h"
#include "framework/model/transformer.h"

namespace foretell::model::heads {

struct HydraShape {
  int heads = 4, blocks = 1;  // blocks: the first one among them
  bool prefix = false;
};

class HydraHeads final : public PathHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& path);
  static HydraHeads load(const std::filesystem::path& path, std::shared_ptr<const LanguageModel> target);
  static HydraHeads random(const HydraShape& shape, std::uint64_t seed, std::shared_ptr<const LanguageModel> target);
  // Of tensors under their published names; they are copied.
  static HydraHeads made_of(const HydraShape& shape, const HeadTensors& tensors, const std::string& name,
                            std::shared_ptr<const LanguageModel> target);
  static std::vector<HeadTensor> tensors_of(const HydraShape& shape, const formats::ModelConfig& target);

  int deepest() const override { return static_cast<int>(heads_.size()); }
  const LanguageModel* prefix() const override { return prefix_.get(); }
  at::Tensor start(const at::Tensor& states) const override { return states; }
  PathStep step(int number, const at::Tensor& path, TokenSpan tokens) const override;

 private:
  struct Head {
    Linear residual, first;
    std::vector<Linear> blocks = {};
    LinearHead output;
  };

  std::shared_ptr<const LanguageModel> target_;
  std::shared_ptr<const Transformer> prefix_;
  std::vector<Head> heads_;
};

}  // namespace foretell::model::heads
