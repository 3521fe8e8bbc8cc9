// The heads of Medusa (Cai et al. 2024, arXiv 2401.10774), as Medusa-1 trains them: the target is frozen, and head k is
// given the state behind a text and learns the token k + 1 places on, k from 1. The loss is the sum of their
// cross-entropies, that of head k times lambda^k.
//
// Blocks start at zero, so that every head starts as the target's own; outputs of their own start as copies of it.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learners/heads.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

struct MedusaOptions {
  TargetSettings target;
  int num_heads = 4, num_layers = 1;
  double lambda = 0.8;
  std::string output = "own";
  void declare(Parameters& p) {
    target.declare(p);
    p.add("num_heads", num_heads, "heads: places that they speak of",
          {.min = 1, .max = 64, .aliases = {"medusa_num_heads"}});
    p.add("num_layers", num_layers, "residual blocks of a head",
          {.min = 1, .max = 64, .aliases = {"medusa_num_layers"}});
    p.add("lambda", lambda, "the loss of head k counts lambda^k", {.min = 0.01, .max = 1.0});
    p.add("output", output, "own: a matrix to the vocabulary for each head; target: the target's",
          {.choices = {"own", "target"}});
  }
};

class MedusaLearner final : public Learner {
 public:
  using Options = MedusaOptions;
  MedusaLearner(Options options, const BuildContext&) : options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override { return {.final_state = true}; }

  void set_up(const LearnerInputs& inputs) override {
    save_dtype_ = inputs.settings.run.save_dtype;
    hidden_ = inputs.target->config().hidden_size;
    output_ = head_matrix(*inputs.target, options_.target.where).to(inputs.device);
    for (int head = 0; head < options_.num_heads; ++head) {
      Head& made = heads_.emplace_back();
      for (int block = 0; block < options_.num_layers; ++block)
        made.blocks.push_back({zeros({hidden_, hidden_}, inputs.device), zeros({hidden_}, inputs.device)});
      if (options_.output == "own") made.output = output_.clone().requires_grad_();
    }
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all;
    for (const auto& [name, value] : named()) all.push_back({name, value, value.dim() == 2});
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    at::Tensor total;
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    for (int head = 0; head < options_.num_heads; ++head) {
      const std::int64_t ahead = head + 1;
      const at::Tensor chosen = batch.positions.index_select(0, batch.loss_rows).ge(ahead).nonzero().view({-1});
      const auto pick = [&](const at::Tensor& of) { return of.index_select(0, chosen); };
      const at::Tensor state = at::embedding(batch.target.final_state, pick(batch.loss_rows) - ahead);
      const at::Tensor own =
          autograd::head_loss_training(inside(head, state), matrix(head), pick(batch.targets), pick(batch.weights)) /
          batch.normaliser;
      const at::Tensor counted = own * std::pow(options_.lambda, ahead);
      total = head == 0 ? counted : total + counted;
      out.terms.push_back({fmt::format("loss.{}", ahead), own.detach()});
    }
    out.total = total;
    out.terms[0].value = total.detach();
    return out;
  }

  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override {
    const c10::NoGradGuard no_grad;
    const NextTokens next = next_tokens(batch);
    std::vector<at::Tensor> hits;
    for (int head = 0; head < std::min(depth, options_.num_heads); ++head) {
      const at::Tensor expected = shifted(next.token, batch, head + 1, -1);
      const at::Tensor said = at::linear(inside(head, batch.target.final_state), matrix(head)).argmax(-1);
      hits.push_back(at::where(expected.lt(0), -at::ones_like(expected), said.eq(expected).to(at::kLong)));
    }
    return at::stack(hits);
  }

  void save(const std::filesystem::path& folder) const override {
    write_head(folder / "medusa_lm_head.safetensors", named(), save_dtype_);
    const nlohmann::ordered_json config = {{"medusa_num_heads", options_.num_heads},
                                           {"medusa_num_layers", options_.num_layers},
                                           {"hidden_size", hidden_},
                                           {"vocab_size", output_.size(0)}};
    io::write_file(folder / "config.json", config.dump(2) + "\n");
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    ConfigValue section = drafter_section("medusa", std::min(depth, options_.num_heads));
    section.set("head", ConfigValue::scalar(folder.string(), {}, true));
    return DraftedBy{section, {}};
  }

  std::string description() const override {
    return fmt::format("{} of {} ({:.2f} million parameters, {}) on the states of a target of hidden size {}",
                       counted(options_.num_heads, "Medusa head"), counted(options_.num_layers, "block"),
                       static_cast<double>(parameter_count()) / 1e6,
                       options_.output == "own" ? "with outputs of their own" : "behind the target's own head",
                       hidden_);
  }

 private:
  struct Block {
    at::Tensor weight, bias;
  };
  struct Head {
    std::vector<Block> blocks = {};
    at::Tensor output = {};  // undefined: the target's
  };

  static at::Tensor zeros(const std::vector<std::int64_t>& shape, at::Device device) {
    return leaf(shape, 0, 0, "").detach().to(device).requires_grad_();
  }
  const Head& at(int head) const { return heads_[static_cast<std::size_t>(head)]; }
  const at::Tensor& matrix(int head) const { return at(head).output.defined() ? at(head).output : output_; }
  at::Tensor inside(int head, at::Tensor x) const {
    for (const Block& block : at(head).blocks) x = x + at::silu(at::linear(x, block.weight, block.bias));
    return x;
  }

  // Under the names of the published files.
  std::vector<std::pair<std::string, at::Tensor>> named() const {
    std::vector<std::pair<std::string, at::Tensor>> all;
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      const Head& of = heads_[head];
      for (std::size_t block = 0; block < of.blocks.size(); ++block) {
        all.emplace_back(fmt::format("{}.{}.linear.weight", head, block), of.blocks[block].weight);
        all.emplace_back(fmt::format("{}.{}.linear.bias", head, block), of.blocks[block].bias);
      }
      if (of.output.defined()) all.emplace_back(fmt::format("{}.{}.weight", head, of.blocks.size()), of.output);
    }
    return all;
  }

  Options options_;
  std::string save_dtype_;
  std::int64_t hidden_ = 0;
  at::Tensor output_;  // the target's
  std::vector<Head> heads_;
};

FORETELL_REGISTER(Learner, MedusaLearner, "medusa",
                  {.summary = "Medusa's heads on a frozen target",
                   .paper = {"Cai et al.", 2024, "2401.10774"},
                   .also_known_as = {"Medusa-1"}});

}  // namespace
}  // namespace foretell::training::learners
