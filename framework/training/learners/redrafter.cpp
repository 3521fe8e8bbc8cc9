// The head of ReDrafter (Zhang et al. 2024, arXiv 2403.09919) on a frozen target: step s learns the token s + 2 places
// behind a text from its state and a recurrent state of the tokens between, which are the text's.
//
// The projection starts with the target's state and the newest token going through, the output as the target's head.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <nlohmann/json.hpp>

#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/model/heads/redrafter_head.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/path_learner.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::RedrafterHead;

struct RedrafterOptions {
  TargetSettings target;
  PathLossOptions loss;
  int steps = 4, blocks = 2;
  bool rnn = true;
  void declare(Parameters& p) {
    target.declare(p);
    loss.declare(p);
    p.add("steps", steps, "of a draft that are trained", {.min = 1, .max = 16});
    p.add("num_draft_layers", blocks, "residual blocks before the output", {.min = 0, .max = 63});
    p.add("rnn", rnn, "whether the recurrent state has matrices; else it is a sum of embeddings");
  }
};

class RedrafterLearner final : public PathLearner {
 public:
  using Options = RedrafterOptions;
  RedrafterLearner(Options options, const BuildContext&) : PathLearner(options.loss), options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }

  void set_up(const LearnerInputs& inputs) override {
    PathLearner::set_up(inputs);
    const std::int64_t seed = inputs.settings.model.init_seed, width = hidden();
    const auto zeros = [&](const std::vector<std::int64_t>& shape) {
      return at::zeros(shape, at::TensorOptions().device(inputs.device)).requires_grad_();
    };
    input_ = {new_matrix("input_proj", width, 2 * width, seed, inputs.device), zeros({width})};
    input_.weight.detach().mul_(0.3).narrow(1, 0, width).diagonal().add_(1);
    for (int block = 0; block < options_.blocks; ++block) blocks_.push_back({zeros({width, width}), zeros({width})});
    output_ = target_head().clone().requires_grad_();
    if (!options_.rnn) return;
    token_ = new_matrix("rnn_w", width, width, seed, inputs.device);
    token_.detach().mul_(3 * model::heads::embedding_scale(*model()));
    state_ = {new_matrix("rnn_u", width, width, seed, inputs.device), zeros({width})};
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : named()) all.push_back({name, value, value.dim() == 2});
    return all;
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "model.safetensors", named(), save_dtype());
    const nlohmann::ordered_json config = {
        {"model_type", "recurrent_drafting_drafter"}, {"hidden_size", hidden()}, {"exit_dim", hidden()},
        {"num_draft_layers", options_.blocks},        {"rnn", options_.rnn},     {"vocab_size", target_head().size(0)}};
    io::write_file(folder / "config.json", config.dump(2) + "\n");
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    return DraftedBy{head_section("redrafter", folder, depth), {}};
  }

  std::string description() const override {
    return fmt::format("A ReDrafter head of {} ({:.2f} million parameters) on the states of a target of hidden size {}",
                       counted(options_.blocks, "block"), static_cast<double>(parameter_count()) / 1e6, hidden());
  }

 protected:
  at::Tensor start(const autograd::TrainBatch& batch) const override {
    const at::Tensor& states = batch.target.final_state;
    return at::cat({states, at::zeros_like(states)}, 1);
  }

  Step step(int, const at::Tensor& path, const at::Tensor& tokens) const override {
    const at::Tensor token = embedded(*model(), tokens).to(path.device()), before = path.narrow(1, hidden(), hidden());
    const at::Tensor state = options_.rnn
                                 ? at::silu(at::linear(token, token_) + at::linear(before, state_.weight, state_.bias))
                                 : token + before;
    const at::Tensor next = at::cat({path.narrow(1, 0, hidden()), state}, 1);
    at::Tensor x = at::linear(next, input_.weight, input_.bias);
    for (const Matrix& block : blocks_) x = x + at::silu(at::linear(x, block.weight, block.bias));
    return {next, x};
  }

  int steps() const override { return options_.steps; }
  at::Tensor output(int) const override { return output_; }

  std::shared_ptr<const model::heads::PathHead> head() const override {
    model::heads::HeadTensors tensors;
    for (const auto& [name, value] : named()) tensors[name] = value.detach();
    return std::make_shared<RedrafterHead>(
        RedrafterHead::made_of({options_.blocks, hidden(), options_.rnn}, tensors, "the head in training", model()));
  }

 private:
  struct Matrix {
    at::Tensor weight, bias;
  };

  // Under the names of the published files.
  NamedTensorList named() const {
    NamedTensorList all;
    const auto add = [&](const std::string& stem, const Matrix& matrix) {
      all.emplace_back(stem + ".weight", matrix.weight);
      all.emplace_back(stem + ".bias", matrix.bias);
    };
    add("input_proj", input_);
    for (std::size_t block = 0; block < blocks_.size(); ++block)
      add(fmt::format("lm_head.{}.linear", block), blocks_[block]);
    all.emplace_back(fmt::format("lm_head.{}.weight", blocks_.size()), output_);
    if (!options_.rnn) return all;
    add("rnn_u", state_);
    all.emplace_back("rnn_w.weight", token_);
    return all;
  }

  Options options_;
  Matrix input_, state_;
  std::vector<Matrix> blocks_;
  at::Tensor output_, token_;
};

FORETELL_REGISTER(Learner, RedrafterLearner, "redrafter",
                  {.summary = "ReDrafter's recurrent head on a frozen target",
                   .paper = {"Zhang et al.", 2024, "2403.09919"},
                   .also_known_as = {"Recurrent Drafter"}});

}  // namespace
}  // namespace foretell::training::learners
