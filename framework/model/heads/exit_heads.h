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
  struct Mlp {
    Linear up, down;
  };
  class Head final : public OutputHead {
   public:
    // A translator, a head of its own, or behind an MLP one of the two ends: its own head or the target's.
    static Head translating(std::shared_ptr<const LanguageModel> target, Linear matrix);
    static Head answering(std::shared_ptr<const LanguageModel> target, std::optional<Linear> own,
                          std::optional<Mlp> mlp);
    at::Tensor logits(const at::Tensor& state) const override;
    at::Tensor logits_of(const at::Tensor& state, TokenSpan tokens) const override;
    int vocab() const override { return target_->config().vocab_size; }
    std::size_t bytes() const override;

   private:
    explicit Head(std::shared_ptr<const LanguageModel> target) : target_(std::move(target)) {}
    at::Tensor normed(const at::Tensor& state) const;
    const OutputHead& output() const;

    std::shared_ptr<const LanguageModel> target_;
    std::optional<Linear> translator_;
    std::optional<Mlp> mlp_;
    std::optional<LinearHead> own_;  // none: the target's head
  };

  std::map<int, Head> heads_;
};

}  // namespace foretell::model::heads
