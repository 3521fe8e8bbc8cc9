#include "framework/model/heads/exit_heads.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <fmt/format.h>

#include <cmath>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/formats/exit_heads.h"
#include "framework/model/heads/state_places.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {
namespace {

constexpr const char* kFile = "exit_heads.safetensors";

Linear packed(const at::Tensor& weight, const at::Tensor& bias) {
  Linear out(weight, bias);
  out.pack();
  return out;
}

}  // namespace

TrainedExitHeads::Head TrainedExitHeads::Head::translating(std::shared_ptr<const LanguageModel> target, Linear matrix) {
  Head head(std::move(target));
  head.translator_ = std::move(matrix);
  return head;
}

TrainedExitHeads::Head TrainedExitHeads::Head::answering(std::shared_ptr<const LanguageModel> target,
                                                         std::optional<Linear> own, std::optional<Mlp> mlp) {
  Head head(std::move(target));
  if (own) head.own_ = LinearHead(std::move(*own), head.target_->config().vocab_size);
  head.mlp_ = std::move(mlp);
  return head;
}

const OutputHead& TrainedExitHeads::Head::output() const { return own_ ? *own_ : target_->parts()->head(); }

at::Tensor TrainedExitHeads::Head::normed(const at::Tensor& state) const {
  const c10::InferenceMode inference;
  const ModelParts& parts = *target_->parts();
  if (translator_) return parts.final_norm(state.add(translator_->forward(state)));
  if (!mlp_) return parts.final_norm(state);
  const at::Tensor inner = at::silu(mlp_->up.forward(parts.final_norm(state)));
  return parts.final_norm(state.add(mlp_->down.forward(inner)));
}

at::Tensor TrainedExitHeads::Head::logits(const at::Tensor& state) const { return output().logits(normed(state)); }

at::Tensor TrainedExitHeads::Head::logits_of(const at::Tensor& state, TokenSpan tokens) const {
  return output().logits_of(normed(state), tokens);
}

std::size_t TrainedExitHeads::Head::bytes() const {
  return output().bytes() + (translator_ ? translator_->bytes() : 0) +
         (mlp_ ? mlp_->up.bytes() + mlp_->down.bytes() : 0);
}

std::filesystem::path TrainedExitHeads::file_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path / kFile : path;
}

std::shared_ptr<const TrainedExitHeads> TrainedExitHeads::load(const std::filesystem::path& file,
                                                               std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const auto stored = formats::SafetensorsFile::open(file);
  const formats::ModelConfig& config = target->config();
  const auto found = formats::exit_head_tensors(
      stored.tensors(), {config.num_layers, config.hidden_size, config.vocab_size}, file.string());
  const at::TensorOptions options = target_options(*target);
  auto out = std::make_shared<TrainedExitHeads>();
  for (const auto& [layer, tensors] : found) {
    const auto read = [&, &at = layer](const formats::StoredTensor* tensor, const char* part) {
      return tensor ? tensor_of(*tensor, fmt::format("{}: 'layers.{}.{}'", file.string(), at, part)).to(options)
                    : at::Tensor();
    };
    std::optional<Linear> matrix;
    if (tensors.weight) matrix = packed(read(tensors.weight, "weight"), read(tensors.bias, "bias"));
    std::optional<Mlp> mlp;
    if (tensors.up) mlp = Mlp{packed(read(tensors.up, "up.weight"), {}), packed(read(tensors.down, "down.weight"), {})};
    out->heads_.emplace(layer, tensors.translator ? Head::translating(target, std::move(*matrix))
                                                  : Head::answering(target, std::move(matrix), std::move(mlp)));
  }
  return out;
}

std::shared_ptr<const TrainedExitHeads> TrainedExitHeads::random(std::uint64_t seed,
                                                                 std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const std::int64_t hidden = target->config().hidden_size;
  const float deviation = 0.5F / std::sqrt(static_cast<float>(hidden));
  auto out = std::make_shared<TrainedExitHeads>();
  for (int layer = 1; layer < target->config().num_layers; ++layer) {
    at::Tensor weight = at::empty({hidden, hidden}, at::kFloat);
    float* values = weight.mutable_data_ptr<float>();
    const std::uint64_t key = mix64(seed ^ mix64(static_cast<std::uint64_t>(layer)));
    for (std::int64_t i = 0; i < weight.numel(); ++i)
      values[i] = deviation * normal_at(key, static_cast<std::uint64_t>(i));
    out->heads_.emplace(layer, Head::translating(target, packed(weight.to(target_options(*target)), {})));
  }
  return out;
}

const OutputHead& TrainedExitHeads::at(int layer) const {
  const auto found = heads_.find(layer);
  FORETELL_CHECK(found != heads_.end(), "no exit head behind layer {}, there are {}", layer, heads_.size());
  return found->second;
}

std::vector<int> TrainedExitHeads::layers() const {
  std::vector<int> out;
  for (const auto& [layer, head] : heads_) out.push_back(layer);
  return out;
}

}  // namespace foretell::model::heads
