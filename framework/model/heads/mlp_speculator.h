// The MLP speculator (Wertheimer et al. 2024, arXiv 2404.19124): a state that starts as the target's and takes in the
// chosen tokens one after the other.
//
// Contract: as PathHead. Step i: state = GELU(norm_i(proj_i(state) + (w_e / w_s) emb_i(token))), logits =
// head_i(state), with w_s = 0.5^(0.5 / n) of n steps and w_e = sqrt((1 - w_s^2) inner / 2); norm_i is RMSNorm with a
// bias. Where the config says so the first state is RMSNorm without gains, divided by sqrt(2). Files are read in the
// published layout: config.json (mlp_speculator_config.h) and speculator.{emb,proj,head}.{i}.weight,
// speculator.ln.{i}.weight and .bias, or the same without "speculator."; what is tied may stand there once. A tensor
// that is missing, unknown or of another shape is an Error of one line that names it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/formats/heads/mlp_speculator_config.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/heads/path_head.h"

namespace foretell::model::heads {

class MlpSpeculator final : public PathHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static MlpSpeculator load(const std::filesystem::path& folder, const std::shared_ptr<const LanguageModel>& target);
  static MlpSpeculator random(int steps, std::uint64_t seed, const std::shared_ptr<const LanguageModel>& target);
  // Of tensors under their published names behind `prefix`; they are copied.
  static MlpSpeculator made_of(const formats::heads::MlpSpeculatorConfig& config, const HeadTensors& tensors,
                               const std::string& prefix, const std::string& name, const LanguageModel& target);
  static std::vector<HeadTensor> tensors_of(const formats::heads::MlpSpeculatorConfig& config,
                                            const std::string& prefix);

  int deepest() const override { return config_.predict; }
  at::Tensor start(const at::Tensor& states) const override;
  PathStep step(int number, const at::Tensor& path, TokenSpan tokens) const override;

 private:
  struct Step {
    at::Tensor embedding, gain, bias;  // [vocab, inner], [inner], [inner]
    Linear projection;
    LinearHead output;
  };

  formats::heads::MlpSpeculatorConfig config_;
  std::vector<Step> steps_;  // tied ones are copies, which share their weights
};

// How much a token weighs beside the state: w_e / w_s.
double token_weight(const formats::heads::MlpSpeculatorConfig& config);

}  // namespace foretell::model::heads
