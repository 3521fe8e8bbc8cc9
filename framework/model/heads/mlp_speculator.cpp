#include "framework/model/heads/mlp_speculator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::model::heads {
namespace {

using formats::heads::MlpSpeculatorConfig;

constexpr double kSpeculatorEps = 1e-6;

at::Tensor rms(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat);
  return wide * (wide.square().mean(-1, true) + kSpeculatorEps).rsqrt();
}

// Whose tensor a step has, where tied ones stand in the file once.
int first_of(const MlpSpeculatorConfig& config, std::string_view part, int step) {
  return config.tied ? std::min(step, part == "proj" ? 1 : 0) : step;
}

void check_speculator(const MlpSpeculatorConfig& config, const formats::ModelConfig& target, const std::string& name) {
  if (config.hidden != target.hidden_size)
    fail("{}: it reads states of width {} (emb_dim), the target's hidden size is {}", name, config.hidden,
         target.hidden_size);
  if (config.vocab != target.vocab_size)
    fail("{}: its vocabulary is {}, that of the target {}", name, config.vocab, target.vocab_size);
}

}  // namespace

double token_weight(const MlpSpeculatorConfig& config) {
  const double state = std::pow(0.5, 0.5 / config.predict);
  return std::sqrt((1 - state * state) * config.inner / 2) / state;
}

std::vector<HeadTensor> MlpSpeculator::tensors_of(const MlpSpeculatorConfig& config, const std::string& prefix) {
  std::vector<HeadTensor> all;
  for (int step = 0; step < config.predict; ++step) {
    const auto add = [&](const char* part, const char* kind, std::vector<std::int64_t> shape) {
      all.push_back({fmt::format("{}{}.{}.{}", prefix, part, step, kind), std::move(shape),
                     first_of(config, part, step) == step});
    };
    add("emb", "weight", {config.vocab, config.inner});
    add("proj", "weight", {config.inner, step == 0 ? config.hidden : config.inner});
    add("head", "weight", {config.vocab, config.inner});
    add("ln", "weight", {config.inner});
    add("ln", "bias", {config.inner});
  }
  return all;
}

std::filesystem::path MlpSpeculator::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

MlpSpeculator MlpSpeculator::load(const std::filesystem::path& folder,
                                  const std::shared_ptr<const LanguageModel>& target) {
  const HeadFile file = HeadFile::open(file_of(folder));
  const HeadTensors tensors = file.load(is_rotary_buffer);
  const bool prefixed =
      std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.first.starts_with("speculator."); });
  return made_of(formats::heads::load_mlp_speculator_config(folder), tensors, prefixed ? "speculator." : "",
                 file.name(), *target);
}

// Embeddings and outputs are the target's, so that a target with random weights agrees with it now and then.
MlpSpeculator MlpSpeculator::random(int steps, std::uint64_t seed, const std::shared_ptr<const LanguageModel>& target) {
  const c10::InferenceMode inference;
  const formats::ModelConfig& model = target->config();
  const MlpSpeculatorConfig config{steps, model.hidden_size, model.hidden_size, model.vocab_size, false, true};
  HeadTensors tensors = random_tensors(tensors_of(config, ""), seed, 1.0F);
  Tokens all(static_cast<std::size_t>(model.vocab_size));
  std::iota(all.begin(), all.end(), 0);
  const at::Tensor embedding = target->parts()->embed(all) * embedding_scale(*target), output = output_matrix(*target);
  for (int step = 0; step < steps; ++step) {
    tensors[fmt::format("emb.{}.weight", step)] = embedding;
    tensors[fmt::format("head.{}.weight", step)] = output;
  }
  return made_of(config, tensors, "", "a random head", *target);
}

MlpSpeculator MlpSpeculator::made_of(const MlpSpeculatorConfig& config, const HeadTensors& tensors,
                                     const std::string& prefix, const std::string& name, const LanguageModel& target) {
  const c10::InferenceMode inference;
  check_speculator(config, target.config(), name);
  const NamedTensors named(tensors, tensors_of(config, prefix), name, "an MLP speculator", target);
  MlpSpeculator out;
  out.config_ = config;
  for (int step = 0; step < config.predict; ++step) {
    const auto own = [&](const char* part, const char* kind) {
      return fmt::format("{}{}.{}{}", prefix, part, step, kind);
    };
    const bool tied = config.tied && step > 0;
    Step made = tied ? out.steps_.back() : Step{};
    if (!tied || step == 1) made.projection = named.linear({own("proj", "")});
    if (!tied) {
      made.embedding = named.get(own("emb", ".weight"));
      made.gain = named.get(own("ln", ".weight")).to(at::kFloat);
      made.bias = named.get(own("ln", ".bias")).to(at::kFloat);
      made.output = LinearHead(named.linear({own("head", "")}), config.vocab);
    }
    out.steps_.push_back(std::move(made));
  }
  return out;
}

at::Tensor MlpSpeculator::start(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  return config_.scaled_input ? (rms(states) / std::sqrt(2.0)).to(states.options()) : states;
}

PathStep MlpSpeculator::step(int number, const at::Tensor& path, TokenSpan tokens) const {
  const c10::InferenceMode inference;
  const Step& step = steps_.at(static_cast<std::size_t>(number));
  at::Tensor ids = at::empty({static_cast<std::int64_t>(tokens.size())}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<std::int64_t>());
  const at::Tensor embedded = step.embedding.index_select(0, ids.to(path.device())).to(at::kFloat);
  const at::Tensor mixed = step.projection.forward(path).to(at::kFloat) + embedded * token_weight(config_);
  const at::Tensor state = at::gelu(rms(mixed) * step.gain + step.bias).to(step.embedding.options());
  return {state, step.output.logits(state)};
}

}  // namespace foretell::model::heads
