// The head of ReDrafter (Zhang et al. 2024, arXiv 2403.09919): a recurrent state of the chosen tokens beside the
// target's last state.
//
// Contract: as PathHead, without an end. The state starts at 0; a step takes a token in: s = SiLU(W E(token) + U s + b)
// where the file has rnn_w and rnn_u, else s = E(token) + s, with the target's embedding. Logits are of [h; s]: through
// input_proj where it is there, residual blocks x + SiLU(W x + b), and a matrix to the vocabulary. Files are read in
// the published layout, as safetensors: input_proj, lm_head.{i}.linear, lm_head.{blocks}.weight, rnn_u, rnn_w.weight. A
// tensor that is missing, unknown or of another shape is an Error of one line that names it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/model/heads/head_tensors.h"
#include "framework/model/heads/path_head.h"

namespace foretell::model::heads {

struct RedrafterShape {
  int blocks = 2;
  std::int64_t exit = 0;  // of the rows that the blocks read; 2 hidden: there is no input_proj
  bool rnn = true;
};

class RedrafterHead final : public PathHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static RedrafterHead load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target);
  static RedrafterHead random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target);
  // Of tensors under their published names; they are copied.
  static RedrafterHead made_of(const RedrafterShape& shape, const HeadTensors& tensors, const std::string& name,
                               std::shared_ptr<const LanguageModel> target);
  static std::vector<HeadTensor> tensors_of(const RedrafterShape& shape, const formats::ModelConfig& target);

  int deepest() const override { return 4096; }
  at::Tensor start(const at::Tensor& states) const override;
  PathStep step(int number, const at::Tensor& path, TokenSpan tokens) const override;

 private:
  std::shared_ptr<const LanguageModel> target_;
  bool rnn_ = true, projected_ = false;
  Linear input_, token_, state_;
  std::vector<Linear> blocks_;
  LinearHead output_;
};

}  // namespace foretell::model::heads
