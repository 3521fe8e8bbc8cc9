// The head of EAGLE-3 (Li et al. 2025, arXiv 2503.01840), trained over the steps of a draft (training-time test): step
// 1 reads states from several depths of the target, each later one what the step before has said, and sees of the draft
// its own rows. The loss of a step is the divergence from the target's distribution on the head's vocabulary; there is
// no distance of states. Step k counts decay^(k-1). Derivatives go through the steps.
//
// A reduced vocabulary (`draft_vocab_size`) is the most frequent tokens of the answers in the training data; rows whose
// target prefers another one are left out, as the released code does.
//
// Deviations: the released loss is the cross-entropy, which differs by a constant, and divides by all rows, not by
// those that count; the output starts as the target's head for its tokens and the newest of the states goes through fc
// as it is, so that a few minutes are enough.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/io/atomic_file.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/unrolled.h"
#include "framework/training/samples.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::Eagle3Head;

constexpr int kCountedSamples = 4096;

struct Eagle3Options {
  TargetSettings target;
  int steps = 3, draft_vocab_size = 0;
  double decay = 0.8;
  std::vector<int> states;
  void declare(Parameters& p) {
    target.declare(p);
    p.add("steps", steps, "of a draft that are trained", {.min = 1, .max = 16, .aliases = {"ttt_steps"}});
    p.add("decay", decay, "the loss of step k counts decay^(k-1)", {.min = 0.01, .max = 1.0});
    p.add("draft_vocab_size", draft_vocab_size, "tokens that the head can draft, the most frequent ones; 0: all",
          {.min = 0, .max = 1 << 24});
    p.add("states", states, "of the target that are read, by layers behind them, 0: embeddings; none: of three depths",
          {.aliases = {"eagle_aux_hidden_state_layer_ids"}});
    where = p.where();
  }
  Location where = {};
};

// The most frequent tokens of the data's answers, then the lowest ids; ascending.
std::vector<Token> frequent_tokens(const SampleSource& source, int count, int vocab) {
  std::vector<double> seen(static_cast<std::size_t>(vocab), 0);
  for (std::uint64_t index = 0; index < kCountedSamples; ++index) {
    const Sample sample = source.sample(index);
    for (std::size_t i = 1; i < sample.tokens.size(); ++i)
      seen[static_cast<std::size_t>(sample.tokens[i])] += sample.weights[i];
  }
  std::vector<Token> ids(static_cast<std::size_t>(vocab));
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(
      ids, [&](Token a, Token b) { return seen[static_cast<std::size_t>(a)] > seen[static_cast<std::size_t>(b)]; });
  ids.resize(static_cast<std::size_t>(count));
  std::ranges::sort(ids);
  return ids;
}

class Eagle3Learner final : public Learner {
 public:
  using Options = Eagle3Options;
  Eagle3Learner(Options options, const BuildContext&) : options_(std::move(options)) {}

  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override {
    return {.aux_states = config_.states, .final_state = true};
  }

  void set_up(const LearnerInputs& inputs) override {
    target_ = inputs.target;
    save_dtype_ = inputs.settings.run.save_dtype;
    target_head_ = head_matrix(*target_, options_.target.where).to(inputs.device);
    config_ = Eagle3Head::config_for(target_->config());
    config_.layers.dtype = save_dtype_ == "bf16" ? "bfloat16" : "float32";
    if (!options_.states.empty()) config_.states = options_.states;
    for (const int state : config_.states)
      if (state < 0 || state > target_->config().num_layers)
        fail_at(options_.where, "states: {} is none of a target of {} (0: embeddings)", state,
                counted(target_->config().num_layers, "layer"));
    if (options_.draft_vocab_size > config_.draft_vocab)
      fail_at(options_.where, "draft_vocab_size is {}, the target's vocabulary {}", options_.draft_vocab_size,
              config_.draft_vocab);
    if (options_.draft_vocab_size > 0) config_.draft_vocab = options_.draft_vocab_size;
    const auto count = static_cast<std::int64_t>(config_.states.size());
    const std::int64_t hidden = config_.layers.hidden_size, seed = inputs.settings.model.init_seed;
    fc_ = new_matrix("fc", hidden, count * hidden, seed, inputs.device);
    fc_.detach().mul_(0.3).narrow(1, (count - 1) * hidden, hidden).diagonal().add_(1);
    token_norm_ = new_gain(hidden, inputs.device);
    state_norm_ = new_gain(hidden, inputs.device);
    output_norm_ = new_gain(hidden, inputs.device);
    layer_ = UnrolledLayer(config_.layers, 2 * hidden, seed, inputs.device);
    output_ = target_head_.narrow(0, 0, config_.draft_vocab).clone().requires_grad_();
    teacher_ = target_head_;
  }

  void see(const SampleSource& source, bool fresh) override {
    if (config_.draft_vocab == target_->config().vocab_size) return;
    ids_ = frequent_tokens(source, config_.draft_vocab, target_->config().vocab_size);
    const at::Tensor index = at::tensor(std::vector<std::int64_t>(ids_.begin(), ids_.end())).to(output_.device());
    teacher_ = target_head_.index_select(0, index);
    drafted_ = at::zeros({target_->config().vocab_size}, output_.options()).index_fill_(0, index, 1);
    if (fresh) output_.detach().copy_(teacher_);
  }

  std::vector<autograd::TrainParameter> parameters() const override {
    std::vector<autograd::TrainParameter> all = {{"fc", fc_, true},
                                                 {"token_norm", token_norm_, false},
                                                 {"state_norm", state_norm_, false},
                                                 {"output_norm", output_norm_, false},
                                                 {"lm_head", output_, true}};
    layer_.add_parameters(all);
    return all;
  }

  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override {
    std::vector<autograd::UnrolledStep> steps;
    at::Tensor states = at::linear(at::cat(batch.target.aux_states, 1), fc_), total;
    autograd::TrainLoss out;
    out.terms.push_back({"loss", {}});
    for (int i = 0; i < options_.steps; ++i) {
      states = step(batch, states, steps);
      const at::Tensor own = divergence(said(batch, states, i)) / batch.normaliser;
      const at::Tensor counted = own * std::pow(options_.decay, i);
      total = i == 0 ? counted : total + counted;
      out.terms.push_back({fmt::format("loss.{}", i + 1), own.detach()});
    }
    out.total = total;
    out.terms[0].value = total.detach();
    return out;
  }

  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override {
    const c10::NoGradGuard no_grad;
    model::heads::HeadTensors tensors;
    for (const auto& [name, value] : named()) tensors[name] = value;
    const Eagle3Head head = Eagle3Head::made_of(config_, tensors, ids_, "the head in training", target_);
    return draft_hits_of(head, batch, head.states_of(batch.target), depth);
  }

  void save(const std::filesystem::path& folder) const override {
    std::vector<formats::NewTensor> list = head_file_tensors(named(), save_dtype_);
    if (!ids_.empty())
      for (formats::NewTensor& tensor : formats::heads::vocabulary_tensors(ids_, target_->config().vocab_size))
        list.push_back(std::move(tensor));
    formats::write_safetensors(folder / "model.safetensors", list);
    io::write_file(folder / "config.json", formats::heads::eagle3_config_json(config_));
  }

  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override {
    ConfigValue section = drafter_section("eagle3", depth);
    section.set("head", ConfigValue::scalar(folder.string(), {}, true));
    return DraftedBy{section, {}};
  }

  std::string description() const override {
    return fmt::format(
        "An EAGLE-3 head of {:.2f} million parameters (one layer of hidden size {}, a vocabulary of {}) on {} of a "
        "target",
        static_cast<double>(parameter_count()) / 1e6, config_.layers.hidden_size, config_.draft_vocab,
        counted(static_cast<int>(config_.states.size()), "state"));
  }

 private:
  at::Tensor step(const autograd::TrainBatch& batch, const at::Tensor& states,
                  std::vector<autograd::UnrolledStep>& steps) const {
    const double eps = config_.layers.norm_eps;
    const auto number = static_cast<std::int64_t>(steps.size());
    const at::Tensor tokens = embedded(*target_, shifted(tokens_behind(batch, next_tokens(batch)), batch, number, 0));
    const at::Tensor read = at::cat({autograd::rms_norm_training(tokens.to(states.device()), token_norm_, eps),
                                     autograd::rms_norm_training(states, state_norm_, eps)},
                                    1);
    return layer_.forward(batch, states, read, steps);
  }

  // The weighted sum over rows whose target has a token of the head's as its best.
  at::Tensor divergence(const Said& rows) const {
    at::Tensor weights = rows.weights;
    at::Tensor targets = rows.targets;
    if (drafted_.defined()) {
      const c10::NoGradGuard no_grad;
      const at::Tensor best = at::linear(rows.expected, target_head_).argmax(-1);
      weights = weights * drafted_.index_select(0, best);
      targets = targets.clamp_max(config_.draft_vocab - 1);  // only the divergence is asked for, none of them counts
    }
    const at::Tensor state = autograd::rms_norm_training(rows.state, output_norm_, config_.layers.norm_eps);
    return autograd::distill_loss_training(state, output_, targets, weights, {rows.expected, teacher_},
                                           {.ce = 0, .kl = 1, .tvd = 0, .temperature = 1})
        .total;
  }

  // Under the names of the published files.
  NamedTensorList named() const {
    NamedTensorList all = {{"fc.weight", fc_.detach()},
                           {"midlayer.input_layernorm.weight", token_norm_.detach()},
                           {"midlayer.hidden_norm.weight", state_norm_.detach()},
                           {"norm.weight", output_norm_.detach()},
                           {"lm_head.weight", output_.detach()}};
    layer_.add_named(all, "midlayer.");
    return all;
  }

  Options options_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  formats::heads::Eagle3Config config_;
  std::vector<Token> ids_;  // the target's by id of the head; empty: the same
  at::Tensor target_head_;  // [vocab, hidden]
  at::Tensor teacher_;      // its rows of the head's tokens
  at::Tensor drafted_;      // float32 [vocab], 1 for the head's tokens; undefined: all of them
  at::Tensor fc_, token_norm_, state_norm_, output_norm_, output_;
  UnrolledLayer layer_;
};

FORETELL_REGISTER(Learner, Eagle3Learner, "eagle3",
                  {.summary = "EAGLE-3's decoder layer on a frozen target, trained over the steps of a draft",
                   .paper = {"Li et al.", 2025, "2503.01840"},
                   .also_known_as = {"EAGLE-3"}});

}  // namespace
}  // namespace foretell::training::learners
