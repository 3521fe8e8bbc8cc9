// Trained heads that answer rows which leave early, in the layout of framework/formats/exit_heads.h.
//
// Contract: const and safe to share; keeps what the target lends alive. There is a head behind each layer of layers()
// and no other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "framework/model/language_model.h"

namespace foretell::model::heads {

class TrainedExitHeads final : public ExitHeads {
 public:
  // Where a folder keeps them: exit_heads.safetensors. A file is itself.
  static std::filesystem::path file_of(const std::filesystem::path& path);
  // An Error of one line for a file that does not fit the target. The target has parts().
  static std::shared_ptr<const TrainedExitHeads> load(const std::filesystem::path& file,
                                                      std::shared_ptr<const LanguageModel> target);
  // Untrained: translators with small random weights, behind every layer but the last.
  static std::shared_ptr<const TrainedExitHeads> random(std::uint64_t seed,
                                                        std::shared_ptr<const LanguageModel> target);

  const OutputHead& at(int layer) const override;
  std::vector<int> layers() const;  // increasing

 private:
  class Head final : public OutputHead {
   public:
    Head(std::shared_ptr<const LanguageModel> target, Linear matrix, bool translator);
    at::Tensor logits(const at::Tensor& state) const override;
    at::Tensor logits_of(const at::Tensor& state, TokenSpan tokens) const override;
    int vocab() const override { return target_->config().vocab_size; }
    std::size_t bytes() const override;

   private:
    at::Tensor normed(const at::Tensor& state) const;
    const OutputHead& output() const;

    std::shared_ptr<const LanguageModel> target_;
    std::optional<Linear> translator_;
    LinearHead own_;  // unless it is a translator: that has the target's head behind it
  };

  std::map<int, Head> heads_;
};

}  // namespace foretell::model::heads
