// The heads of Medusa (Cai et al. 2024, arXiv 2401.10774): head i predicts the token i + 2 places after the last one
// that the target's state has seen, i from 0; the target's own head predicts the one before these.
//
// Contract: a head is residual blocks x + SiLU(W x + b) on the final normed state, then a matrix to the vocabulary: its
// own, or the target's head where the file has none (as the first released code trained them). const and safe to share.
// Files are read in the published layout, as safetensors: {head}.{block}.linear.weight and .bias,
// {head}.{blocks}.weight; or the same behind "medusa_head.", among a whole model's tensors. How many heads and blocks
// there are the names say. What is missing, damaged, too many or of a shape that does not fit the target is an Error of
// one line.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "framework/model/language_model.h"

namespace foretell::model::heads {

class MedusaHeads {
 public:
  // Where a folder keeps its heads: medusa_lm_head.safetensors or model.safetensors; the folder where these are not
  // there (its index names the files). A file is itself. An Error where there is nothing but a pickle.
  static std::filesystem::path file_of(const std::filesystem::path& path);
  // From such a path. The target lends its parts.
  static MedusaHeads load(const std::filesystem::path& path, std::shared_ptr<const LanguageModel> target);
  // Untrained: blocks of random weights behind the target's own head.
  static MedusaHeads random(int heads, int blocks, std::uint64_t seed, std::shared_ptr<const LanguageModel> target);

  int count() const { return static_cast<int>(heads_.size()); }
  // states [rows, hidden], final and normed -> float32 [rows, vocab of the target]
  at::Tensor logits(int head, const at::Tensor& states) const;

 private:
  struct Head {
    std::vector<Linear> blocks = {};
    std::optional<LinearHead> output = {};  // none: the target's
  };
  explicit MedusaHeads(std::shared_ptr<const LanguageModel> target) : target_(std::move(target)) {}

  std::shared_ptr<const LanguageModel> target_;
  std::vector<Head> heads_;
};

}  // namespace foretell::model::heads
