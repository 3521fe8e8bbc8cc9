// The heads of Hydra (Ankner et al. 2024, arXiv 2402.05109) on a frozen target: head k reads the state behind a text
// and the k tokens that follow it, and learns what the target says of the next one. With `prefix` a decoder layer reads
// the target's states first (Hydra++).
//
// Deviations: the released code's cross-entropy with the target's distribution differs from the divergence by a
// constant, and its dropout is left out; the first block starts with the newest token's embedding going through,
// outputs as copies of the target's.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/model/heads/hydra_heads.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/path_learner.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::HydraHeads;

struct HydraOptions {
  TargetSettings target;
  PathLossOptions loss{.ce = 0, .kl = 1};
  model::heads::HydraShape shape;
  void declare(Parameters& p) {
    target.declare(p);
    loss.declare(p);
    p.add("num_heads", shape.heads, "heads: places that they speak of",
          {.min = 1, .max = 64, .aliases = {"hydra_num_heads"}});
    p.add("num_layers", shape.blocks, "blocks of a head", {.min = 1, .max = 64, .aliases = {"hydra_num_layers"}});
    p.add("prefix", shape.prefix, "whether a decoder layer reads the target's states first (Hydra++)");
  }
};

class HydraLearner final : public PathLearner {
 public:
  using Options = HydraOptions;
  HydraLearner(Options options, const BuildContext&) : PathLearner(options.loss), options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }

  void set_up(const LearnerInputs& inputs) override {
    PathLearner::set_up(inputs);
    const std::int64_t seed = inputs.settings.model.init_seed;
    const auto zeros = [&](const std::vector<std::int64_t>& shape) {
      return at::zeros(shape, at::TensorOptions().device(inputs.device)).requires_grad_();
    };
    for (int head = 0; head < options_.shape.heads; ++head) {
      Head& made = heads_.emplace_back();
      const std::int64_t read = (head + 2) * hidden();
      made.residual = {new_matrix(fmt::format("res_connection.{}", head), hidden(), read, seed, inputs.device),
                       zeros({hidden()})};
      made.residual.weight.detach().mul_(0.3).narrow(1, 0, hidden()).diagonal().add_(1);
      for (int block = 0; block < options_.shape.blocks; ++block) {
        const std::int64_t inputs_of = block == 0 ? read : hidden();
        made.blocks.push_back({block == 0
                                   ? new_matrix(fmt::format("linear.{}", head), hidden(), read, seed, inputs.device)
                                   : zeros({hidden(), inputs_of}),
                               zeros({hidden()})});
      }
      made.output = {target_head().clone().requires_grad_(), zeros({target_head().size(0)})};
    }
    if (!options_.shape.prefix) return;
    config_ = model::heads::layer_config_for(model()->config());
    layer_ = UnrolledLayer(config_, hidden(), seed, inputs.device);
    layer_norm_ = new_gain(hidden(), inputs.device);
    final_norm_ = new_gain(hidden(), inputs.device);
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : heads_named()) all.push_back({name, value, value.dim() == 2});
    if (!options_.shape.prefix) return all;
    layer_.add_parameters(all);
    all.push_back({"layer_norm", layer_norm_, false});
    all.push_back({"final_norm", final_norm_, false});
    return all;
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "hydra_lm_head.safetensors", named(), save_dtype());
    const nlohmann::ordered_json config = {{"hydra_num_heads", options_.shape.heads},
                                           {"hydra_num_layers", options_.shape.blocks},
                                           {"hydra_head_arch", options_.shape.prefix ? "prefix-mlp" : "mlp"},
                                           {"grounded_heads", true},
                                           {"hidden_size", hidden()},
                                           {"vocab_size", target_head().size(0)}};
    io::write_file(folder / "config.json", config.dump(2) + "\n");
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    return DraftedBy{head_section("hydra", folder, std::min(depth, options_.shape.heads)), {}};
  }

  std::string description() const override {
    return fmt::format("{} of {}{} ({:.2f} million parameters) on the states of a target of hidden size {}",
                       counted(options_.shape.heads, "Hydra head"), counted(options_.shape.blocks, "block"),
                       options_.shape.prefix ? " behind a decoder layer" : "",
                       static_cast<double>(parameter_count()) / 1e6, hidden());
  }

 protected:
  at::Tensor start(const autograd::TrainBatch& batch) const override {
    const at::Tensor& states = batch.target.final_state;
    if (!options_.shape.prefix) return states;
    std::vector<autograd::UnrolledStep> steps;
    const at::Tensor read = autograd::rms_norm_training(states, layer_norm_, config_.norm_eps);
    return autograd::rms_norm_training(layer_.forward(batch, states, read, steps), final_norm_, config_.norm_eps);
  }

  Step step(int number, const at::Tensor& path, const at::Tensor& tokens) const override {
    const Head& of = heads_[static_cast<std::size_t>(number)];
    const at::Tensor read = at::cat({path, embedded(*model(), tokens).to(path.device())}, 1);
    const auto inside = [](const Matrix& m, const at::Tensor& x) { return at::silu(at::linear(x, m.weight, m.bias)); };
    at::Tensor x = at::linear(read, of.residual.weight, of.residual.bias) + inside(of.blocks[0], read);
    for (std::size_t block = 1; block < of.blocks.size(); ++block) x = x + inside(of.blocks[block], x);
    return {read, at::cat({x, at::ones({x.size(0), 1}, x.options().requires_grad(false))}, 1)};
  }

  int steps() const override { return options_.shape.heads; }
  // The bias as one more column, of a state that is 1 there.
  at::Tensor output(int number) const override {
    const Matrix& own = heads_[static_cast<std::size_t>(number)].output;
    return at::cat({own.weight, own.bias.unsqueeze(1)}, 1);
  }

  std::shared_ptr<const model::heads::PathHead> head() const override {
    model::heads::HeadTensors tensors;
    for (const auto& [name, value] : named()) tensors[name] = value.detach();
    return std::make_shared<HydraHeads>(HydraHeads::made_of(options_.shape, tensors, "the heads in training", model()));
  }

 private:
  struct Matrix {
    at::Tensor weight, bias;
  };
  struct Head {
    Matrix residual;
    std::vector<Matrix> blocks;
    Matrix output;
  };

  // Under the names of the published files.
  NamedTensorList heads_named() const {
    NamedTensorList all;
    const auto add = [&](const std::string& stem, const Matrix& matrix) {
      all.emplace_back(stem + ".weight", matrix.weight);
      all.emplace_back(stem + ".bias", matrix.bias);
    };
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      add(fmt::format("hydra_mlp.{}.1.res_connection", head), heads_[head].residual);
      for (std::size_t block = 0; block < heads_[head].blocks.size(); ++block)
        add(fmt::format("hydra_mlp.{}.{}.linear", head, 2 * block + 1), heads_[head].blocks[block]);
      add(fmt::format("hydra_lm_head.{}.1", head), heads_[head].output);
    }
    return all;
  }
  NamedTensorList named() const {
    NamedTensorList all = heads_named();
    if (!options_.shape.prefix) return all;
    layer_.add_named(all, "prefix_embeding_layer.layers.0.");
    all.emplace_back("prefix_embeding_layer.layers.0.input_layernorm.weight", layer_norm_.detach());
    all.emplace_back("prefix_embeding_layer.norm.weight", final_norm_.detach());
    return all;
  }

  Options options_;
  std::vector<Head> heads_;
  formats::ModelConfig config_;  // of the prefix layer
  UnrolledLayer layer_;
  at::Tensor layer_norm_, final_norm_;
};

FORETELL_REGISTER(Learner, HydraLearner, "hydra",
                  {.summary = "Hydra's heads on a frozen target; with `prefix` Hydra++'s",
                   .paper = {"Ankner et al.", 2024, "2402.05109"},
                   .also_known_as = {"Hydra++"}});

}  // namespace
}  // namespace foretell::training::learners
