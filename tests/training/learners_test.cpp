// Learners of heads: what they read of the target, their loss and its derivative, and acceptance with the text given
// beside acceptance in the ordinary loop.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include "framework/api/build_context.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/heads/hydra_heads.h"
#include "framework/training/checkpoint.h"
#include "framework/training/evaluation.h"
#include "framework/training/frozen_target.h"
#include "framework/training/language_loss.h"
#include "framework/training/trainer.h"
#include "tests/support/catch.h"
#include "tests/training/learning.h"

namespace foretell {
namespace {

using testing::check_acceptance, testing::check_gradients, testing::counting_target, testing::head_settings,
    testing::kCounting, testing::learn, testing::Learned, testing::some_batch;

TEST_CASE("a frozen target of any family and dtype gives the states of each sequence by itself") {
  for (const std::string& config : {testing::small_llama(), testing::small_qwen2(), testing::small_gpt2()}) {
    const auto model = testing::small_model(config);
    const auto target = model->snapshot(at::kFloat);
    TrainBatch batch = some_batch({});
    FrozenTarget(target, {.aux_states = {0, 2}, .final_state = true}).read(batch);
    const c10::NoGradGuard no_grad;
    CHECK((batch.target.final_state - model->forward(batch)).abs().max().item<float>() < 1e-4f);
    REQUIRE(batch.target.aux_states.size() == 2);
    CHECK(batch.target.aux_states[0].sizes() == batch.target.final_state.sizes());
    CHECK_FALSE(batch.target.final_state.is_inference());
  }
  TrainBatch batch = some_batch({}), exact = some_batch({});
  const auto target = testing::small_model(testing::small_llama())->snapshot(at::kFloat);
  FrozenTarget(target->quantised({}), {.final_state = true}).read(batch);
  FrozenTarget(target, {.final_state = true}).read(exact);
  CHECK(batch.target.final_state.dtype() == at::kFloat);
  const float apart = (batch.target.final_state - exact.target.final_state).abs().max().item<float>();
  CHECK(apart > 0);
  CHECK(apart < 0.5f);
}

TEST_CASE("medusa: the loss is the formula, its derivative too") {
  const auto learned =
      learn("{type: medusa, target: t, num_heads: 3, num_layers: 2, lambda: 0.5, output: own}", head_settings(30), 2);
  check_gradients(*learned, 0.02);
  const TrainBatch batch = some_batch(learned->prepare);
  const c10::NoGradGuard no_grad;
  const NextTokens next = next_tokens(batch);
  const auto parameters = learned->learner->parameters();
  REQUIRE(parameters.size() == 15);
  double expected = 0;
  for (std::size_t head = 0; head < 3; ++head) {
    at::Tensor x = batch.target.final_state;
    for (std::size_t block = 0; block < 2; ++block)
      x = x +
          at::silu(at::linear(x, parameters[5 * head + 2 * block].value, parameters[5 * head + 2 * block + 1].value));
    const at::Tensor log_q = at::log_softmax(at::linear(x, parameters[5 * head + 4].value), -1);
    for (std::int64_t row = 0; row < batch.tokens.size(0); ++row) {
      const auto later = row + static_cast<std::int64_t>(head) + 1;
      if (later >= batch.tokens.size(0) || next.token[later].item<std::int64_t>() < 0) continue;
      if ((batch.positions[later] - batch.positions[row]).item<std::int64_t>() != later - row) continue;
      expected -= std::pow(0.5, head + 1.0) * next.weight[later].item<double>() *
                  log_q[row][next.token[later]].item<double>() / batch.normaliser;
    }
  }
  CHECK(learned->learner->loss(batch).total.item<double>() == Approx(expected).epsilon(1e-4));
}

TEST_CASE("medusa: the loss falls, and drafts are accepted as the text says") {
  for (const auto& [output, steps] : {std::pair{"own", 25}, std::pair{"target", 90}}) {
    INFO(output);
    const std::string section = fmt::format("{{type: medusa, target: t, num_heads: 3, output: {}}}", output);
    const auto fresh = learn(section, head_settings(100), 0), learned = learn(section, head_settings(100), steps);
    const TrainBatch batch = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    TrainBatch rows = batch;
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
    check_acceptance(*learned, 3, 1.1, 4);
  }
}

TEST_CASE("eagle: the derivative is that of the loss, the loss falls, and drafts are accepted as the text says") {
  const std::string section = "{type: eagle, target: t, divergence: 1}";
  const auto fresh = learn(section, head_settings(60), 1), learned = learn(section, head_settings(60), 40);
  check_gradients(*fresh, 0.03);
  TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
  learned->prepare(rows);
  CHECK(learned->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
  CHECK(learned->learner->loss(rows).total.item<double>() == learned->learner->loss(rows).total.item<double>());
  check_acceptance(*learned, 4, 1.1, 5);
}

TEST_CASE("hass: steps go on from the head's own states as a draft does, and the loss falls") {
  const auto learned = learn("{type: hass, target: t, steps: 3, noise: 0, top_k: 5}", head_settings(60), 3);
  check_gradients(*learn("{type: hass, target: t, steps: 1, top_k: 5}", head_settings(60), 1), 0.03);

  // The second step's distance, with the head that a drafter would load.
  const testing::TemporaryFolder folder;
  learned->learner->save(folder.path());
  const EagleHead head = EagleHead::load(folder.path(), counting_target());
  TrainBatch batch = make_batch({testing::sample_of(testing::counted_tokens(9, 61, 4))}, at::kCPU);
  learned->prepare(batch);
  const at::Tensor states = batch.target.final_state;
  const Tokens text = testing::counted_tokens(9, 61, 4);
  double expected = 0;
  for (std::int64_t t = 0; t + 2 < states.size(0); ++t) {
    const c10::InferenceMode inference;
    at::Tensor features = states.narrow(0, 0, t + 1);
    for (int step = 0; step < 2; ++step) {
      const auto cache = head.make_cache(static_cast<int>(features.size(0)));
      const TokenSpan behind = TokenSpan(text).subspan(1, static_cast<std::size_t>(features.size(0)));
      const ForwardItem item{head.fuse(behind, features), ChainShape{}, cache.get(), LogitRows::None};
      features = at::cat({features, head.forward(std::span(&item, 1))[-1].unsqueeze(0)});
    }
    expected += at::smooth_l1_loss(features[-1], states[t + 2]).item<double>() / batch.normaliser;
  }
  const TrainLoss loss = learned->learner->loss(batch);
  REQUIRE(loss.terms.at(3).name == "loss.regression.2");
  CHECK(loss.terms.at(3).value.item<double>() == Approx(expected).epsilon(1e-4));

  const auto fresh = learn("{type: hass, target: t, steps: 2}", head_settings(60), 0),
             later = learn("{type: hass, target: t, steps: 2}", head_settings(60), 30);
  TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
  later->prepare(rows);
  CHECK(later->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
  check_acceptance(*later, 4, 1.1, 5);
}

TEST_CASE("eagle3: the first step is the divergence of what the drafter says, steps go on as a draft does") {
  const auto learned = learn("{type: eagle3, target: t, steps: 3, decay: 0.5}", head_settings(60), 3);
  check_gradients(*learn("{type: eagle3, target: t, steps: 2}", head_settings(60), 1), 0.03);
  const testing::TemporaryFolder folder;
  learned->learner->save(folder.path());
  const Eagle3Head head = Eagle3Head::load(folder.path(), counting_target());
  const Tokens text = testing::counted_tokens(9, 61, 4);
  TrainBatch batch = make_batch({testing::sample_of(text)}, at::kCPU);
  learned->prepare(batch);
  const TrainLoss loss = learned->learner->loss(batch);
  const at::Tensor states = head.states_of(batch.target);
  double total = 0;
  for (int steps = 1; steps <= 3; ++steps) {
    double expected = 0;
    for (std::int64_t t = 0; t + steps < states.size(0); ++t) {
      const c10::InferenceMode inference;
      at::Tensor features = head.condition(states.narrow(0, 0, t + 1));
      for (int step = 0; step < steps; ++step) {
        const auto cache = head.make_cache(static_cast<int>(features.size(0)));
        const TokenSpan behind = TokenSpan(text).subspan(1, static_cast<std::size_t>(features.size(0)));
        const ForwardItem item{head.fuse(behind, features), ChainShape{}, cache.get(), LogitRows::None};
        features = at::cat({features, head.forward(std::span(&item, 1))[-1].unsqueeze(0)});
      }
      const at::Tensor log_q = at::log_softmax(head.logits(features[-1].unsqueeze(0))[0], -1);
      const at::Tensor truth = batch.target.final_state[t + steps].unsqueeze(0);
      const at::Tensor log_p = at::log_softmax(counting_target()->parts()->head().logits(truth)[0], -1);
      expected += (log_p.exp() * (log_p - log_q)).sum().item<double>() / batch.normaliser;
    }
    INFO("step " << steps);
    CHECK(loss.terms.at(static_cast<std::size_t>(steps)).value.item<double>() == Approx(expected).epsilon(1e-3));
    total += std::pow(0.5, steps - 1) * expected;
  }
  CHECK(loss.total.item<double>() == Approx(total).epsilon(1e-3));
}

TEST_CASE(
    "eagle3: the loss falls, and drafts are accepted as the text says, with all tokens and with the frequent ones") {
  for (const int vocab : {0, 40}) {
    INFO(vocab);
    const std::string section = fmt::format("{{type: eagle3, target: t, steps: 2, draft_vocab_size: {}}}", vocab);
    const auto fresh = learn(section, head_settings(60), 0), learned = learn(section, head_settings(60), 40);
    TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
    check_acceptance(*learned, 4, 1.1, 5);
  }
  CHECK_THROWS_WITH(learn("{type: eagle3, target: t, draft_vocab_size: 62}", head_settings(1), 0),
                    Catch::Contains("draft_vocab_size is 62, the target's vocabulary 61"));
  CHECK_THROWS_WITH(learn("{type: eagle3, target: t, states: [1, 9]}", head_settings(1), 0),
                    Catch::Contains("states: 9 is none of a target of 2 layers"));
}

TEST_CASE(
    "hydra, mlp_speculator and redrafter: the derivative, the loss, and drafts that are accepted as the text says") {
  for (const char* section :
       {"{type: hydra, target: t, num_heads: 3, num_layers: 2}", "{type: hydra, target: t, num_heads: 2, prefix: true}",
        "{type: mlp_speculator, target: t, n_predict: 3}",
        "{type: mlp_speculator, target: t, n_predict: 3, inner_dim: 24, tie_weights: true, scale_input: false, kl: 1}",
        "{type: redrafter, target: t, steps: 3}", "{type: redrafter, target: t, steps: 2, rnn: false}"}) {
    INFO(section);
    const auto fresh = learn(section, head_settings(60), 1), learned = learn(section, head_settings(60), 30);
    check_gradients(*fresh, 0.03);
    TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.7 * fresh->learner->heldout_loss(rows));
    check_acceptance(*learned, 3, 1.1, 4.01);  // all of them, where counting is learned
  }
}

TEST_CASE("hydra: the loss is the divergence of what the heads that were saved say") {
  for (const char* prefix : {"false", "true"}) {
    const auto learned =
        learn(fmt::format("{{type: hydra, target: t, num_heads: 2, prefix: {}}}", prefix), head_settings(60), 3);
    const testing::TemporaryFolder folder;
    learned->learner->save(folder.path());
    const HydraHeads heads = HydraHeads::load(folder.path(), counting_target());
    const Tokens text = testing::counted_tokens(9, 61, 4);
    TrainBatch batch = make_batch({testing::sample_of(text)}, at::kCPU);
    learned->prepare(batch);
    const TrainLoss loss = learned->learner->loss(batch);
    const c10::InferenceMode inference;
    at::Tensor states = batch.target.final_state;
    if (heads.prefix() != nullptr) {
      const auto cache = heads.prefix()->make_cache(static_cast<int>(states.size(0)));
      const ForwardItem item{states, ChainShape{}, cache.get(), LogitRows::None};
      ForwardOptions options;
      options.return_final_state = true;
      states = heads.prefix()->forward(std::span(&item, 1), options).final_state;
    }
    for (int head = 0; head < 2; ++head) {
      double expected = 0;
      for (std::int64_t t = 0; t + head + 1 < states.size(0); ++t) {
        PathStep step{heads.start(states[t].unsqueeze(0)), {}};
        for (int i = 0; i <= head; ++i) step = heads.step(i, step.path, TokenSpan(text).subspan(t + 1 + i, 1));
        const at::Tensor log_q = at::log_softmax(step.logits[0], -1);
        const at::Tensor truth = batch.target.final_state[t + head + 1].unsqueeze(0);
        const at::Tensor log_p = at::log_softmax(counting_target()->parts()->head().logits(truth)[0], -1);
        expected += (log_p.exp() * (log_p - log_q)).sum().item<double>() / batch.normaliser;
      }
      CHECK(loss.terms.at(static_cast<std::size_t>(head) + 1).value.item<double>() == Approx(expected).epsilon(1e-3));
    }
  }
}

TEST_CASE("the derivative of an unrolled attention is that of what it computes") {
  const RowGroup group{.first_row = 0, .sequences = 2, .length = 3};
  const TrainingAttention attention{{4, 2, 8, false}, {}, {group}, 0.4};
  std::vector<UnrolledStep> steps;
  for (int step = 0; step < 3; ++step)
    steps.push_back({(at::arange(6 * 64, at::kFloat) * (0.7 + step)).sin().view({6, 64}).requires_grad_(), {}});
  const at::Tensor mix = (at::arange(6 * 32, at::kFloat) * 1.3).cos().view({6, 32});
  const auto value = [&] { return (attend_unrolled_training(steps, attention) * mix).sum(); };
  value().backward();
  for (const UnrolledStep& step : steps) {
    const at::Tensor gradient = step.qkv.grad().clone(), at = step.qkv.detach();
    const double norm = gradient.norm().item<double>(), size = 1e-2;
    REQUIRE(norm > 0);
    const c10::NoGradGuard no_grad;
    at.add_(gradient * (size / norm));
    const double above = value().item<double>();
    at.sub_(gradient * (2 * size / norm));
    const double below = value().item<double>();
    at.add_(gradient * (size / norm));
    CHECK((above - below) / (2 * size) == Approx(norm).epsilon(0.01));
  }
  // Keys of another sequence or of a later start change nothing.
  const c10::NoGradGuard no_grad;
  const at::Tensor before = attend_unrolled_training(steps, attention).clone();
  steps[0].qkv.detach()[2].add_(1);
  steps[1].qkv.detach()[2].add_(1);
  const at::Tensor changed = (attend_unrolled_training(steps, attention) - before).abs().amax(1);
  for (std::int64_t row = 0; row < 6; ++row) CHECK((changed[row].item<float>() > 1e-4f) == (row == 2));
}

TEST_CASE("acceptance by position adds up to a length") {
  CHECK(length_of({}) == 1);
  CHECK(length_of(std::vector<double>{0.5, 0.4}) == Approx(1 + 0.5 + 0.2));
}

TEST_CASE("the average of the weights follows them and is what is saved; a resumed run has the same one") {
  TrainSettings settings = head_settings(12);
  settings.optimizer.ema = 0.9;
  const std::string section = "{type: medusa, target: t, num_heads: 2, output: target}";
  const auto straight = learn(section, settings, 0);
  std::vector<at::Tensor> average;
  for (const TrainParameter& p : straight->learner->parameters()) average.push_back(p.value.detach().clone());
  for (int step = 1; step <= 9; ++step) {
    straight->trainer->step(kCounting);
    const double decay = std::min(0.9, (1.0 + step) / (10.0 + step));
    for (std::size_t i = 0; i < average.size(); ++i)
      average[i].mul_(decay).add_(straight->learner->parameters()[i].value.detach(), 1 - decay);
  }
  const at::Tensor newest = straight->learner->parameters()[0].value.detach().clone();
  {
    const Trainer::Averaged averaged(*straight->trainer);
    CHECK(at::equal(straight->learner->parameters()[0].value, average[0]));
    CHECK_FALSE(at::equal(newest, average[0]));
  }
  CHECK(at::equal(straight->learner->parameters()[0].value, newest));

  const testing::TemporaryFolder folder;
  const auto first = learn(section, settings, 5), second = learn(section, settings, 0);
  save_checkpoint(folder.path() / "state", *first->trainer, {"settings", {}, 0});
  load_checkpoint(folder.path() / "state", *second->trainer, "settings");
  for (int i = 5; i < 9; ++i) second->trainer->step(kCounting);
  CHECK(at::equal(second->learner->parameters()[0].value, newest));
  const Trainer::Averaged averaged(*second->trainer);
  CHECK(at::equal(second->learner->parameters()[0].value, average[0]));
}

TEST_CASE("what a training file says of a learner is checked at its line") {
  const auto read = [](const std::string& more) {
    return read_train_settings(parse_yaml("train: t\n" + more, "train.yaml"));
  };
  CHECK_THROWS_WITH(read("learner: {type: medussa}"),
                    Catch::Contains("train.yaml:2") && Catch::Contains("did you mean 'medusa'"));
  CHECK_THROWS_WITH(read("learner: {type: medusa}\ndistill: {target: d}"), Catch::Contains("train.yaml:3"));
  CHECK_THROWS_WITH(Registry<Learner>::instance().make(read("learner:\n  type: medusa\n  num_haeds: 3").learner, {}),
                    Catch::Contains("train.yaml:4") && Catch::Contains("did you mean 'num_heads'"));
  CHECK_THROWS_WITH(Registry<Learner>::instance().make(read("distill: {target: d, ce: 0, kl: 0, tvd: 0}").learner, {}),
                    Catch::Contains("train.yaml:2") && Catch::Contains("nothing is learned"));
  const TrainSettings old = read("model: {from: m}\ndistill: {target: d, kl: 0.5}");
  CHECK(Registry<Learner>::instance().type_of(old.learner) == "distill");
  const std::string resolved = resolved_document(old).to_yaml();
  CHECK(resolved_document(read_train_settings(parse_yaml(resolved, "again.yaml"))).to_yaml() == resolved);
  CHECK(Registry<Learner>::instance().type_of(read("model: {from: m}").learner) == "lm");
}

}  // namespace
}  // namespace foretell
