// Distillation: the fused loss against its formula, its effect, and answers that are kept; orders and texts as sources.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <fstream>
#include <set>

#include "framework/training/autograd/training_ops.h"
#include "framework/training/distillation.h"
#include "framework/training/shuffle.h"
#include "framework/training/trainer.h"
#include "tests/support/catch.h"
#include "tests/training/helpers.h"

namespace foretell {
namespace {

at::Tensor jumble(std::initializer_list<std::int64_t> shape, double speed) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return at::arange(count, at::kFloat).mul(speed).sin().mul(2).view(shape);
}

TEST_CASE("The distillation loss and its derivative are their formulas") {
  const at::Tensor state = jumble({5, 8}, 0.7).requires_grad_(), head = jumble({33, 8}, 1.3).requires_grad_();
  const Teacher teacher{jumble({5, 6}, 0.9), jumble({33, 6}, 1.1)};
  const at::Tensor targets = at::tensor({3, 0, 32, 7, 7}, at::kLong),
                   weights = at::tensor({1.0f, 0.5f, 0.25f, 1.0f, 2.0f});
  for (const DistillMix& mix :
       {DistillMix{1, 0, 0, 1}, DistillMix{0, 1, 0, 1}, DistillMix{0, 0, 1, 1}, DistillMix{0.3, 0.6, 0.4, 2.5}}) {
    INFO(mix.ce << " " << mix.kl << " " << mix.tvd);
    state.mutable_grad().reset();
    head.mutable_grad().reset();
    const DistillLoss loss = distill_loss_training(state, head, targets, weights, teacher, mix);
    loss.total.backward();
    const at::Tensor d_state = state.grad().clone(), d_head = head.grad().clone();
    state.mutable_grad().reset();
    head.mutable_grad().reset();

    const at::Tensor s = at::mm(state, head.t()), t = at::mm(teacher.state, teacher.head.t());
    const at::Tensor q = at::softmax(s / mix.temperature, -1), p = at::softmax(t / mix.temperature, -1);
    const at::Tensor ce = (at::cross_entropy_loss(s, targets, {}, at::Reduction::None) * weights).sum();
    const at::Tensor kl = ((p * (p.log() - q.log())).sum(-1) * weights).sum() * (mix.temperature * mix.temperature);
    const at::Tensor tvd = ((p - q).abs().sum(-1) * weights).sum() / 2;
    const at::Tensor expected = mix.ce * ce + mix.kl * kl + mix.tvd * tvd;
    expected.backward();
    CHECK(loss.total.item<double>() == Approx(expected.item<double>()).epsilon(1e-4));
    CHECK(loss.terms.ce == Approx(ce.item<double>()).epsilon(1e-4));
    CHECK(loss.terms.kl == Approx(kl.item<double>()).epsilon(1e-4));
    CHECK(loss.terms.tvd == Approx(tvd.item<double>()).epsilon(1e-4));
    CHECK((d_state - state.grad()).abs().max().item<float>() < 1e-4f);
    CHECK((d_head - head.grad()).abs().max().item<float>() < 1e-4f);
  }
}

TEST_CASE("A draft comes closer to its target") {
  const auto target = testing::small_model(testing::small_llama(), 3),
             draft = testing::small_model(testing::small_llama(), 8);
  target->freeze();
  TrainSettings settings;
  settings.optimizer.learning_rate = 1e-2;
  settings.optimizer.warmup_steps = 2;
  settings.batch = {.rows = 4, .length = 16, .accumulate = 1};
  settings.run.steps = 40;
  Trainer trainer(std::make_shared<DistillationLoss>(draft, target, DistillMix{0, 1, 0, 1}), settings, at::kCPU);
  const testing::CountingSource source(61, 12);
  const auto kl = [](const StepReport& report) { return report.losses.at(2).second; };
  const StepReport first = trainer.step(source);
  REQUIRE(first.losses.at(2).first == "loss.kl");
  StepReport last;
  for (int i = 1; i < 40; ++i) last = trainer.step(source);
  CHECK(kl(last) < 0.4 * kl(first));
  for (const TrainParameter& parameter : target->parameters()) CHECK_FALSE(parameter.value.grad().defined());
}

// GPT-2's final norm can be a constant: this model ends every answer at once.
std::shared_ptr<const LanguageModel> silent_target() {
  TrainableTransformer model(
      parse_model_config(testing::small_gpt2(R"("vocab_size": 259, "n_positions": 2000)"), "config.json"), at::kCPU);
  for (const NamedWeight& weight : model.named_weights()) {
    if (weight.spec.name == "transformer.ln_f.bias") weight.value.fill_(1);
    if (weight.spec.name == "transformer.wte.weight") weight.value[257].fill_(1);
  }
  return model.snapshot(at::kFloat);
}

TEST_CASE("The target's answers stand in for the true ones and are asked for once") {
  const testing::TemporaryFolder folder;
  const auto tokenizer = testing::byte_tokenizer();
  const ConversationWriter writer{tokenizer, &ChatTemplate::get("chatml"), 0};
  TrainDataSettings data;
  data.families = {"arithmetic", "multi_turn"};
  AnswerRequest request{folder.path() / "answers.jsonl", data, {}, silent_target()};
  request.asked.samples = 3;
  const std::vector<TaskExample> answers = target_answers(writer, request);
  REQUIRE(answers.size() == 3);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CHECK(answers[i].turns.at(0).prompt == training_example(data, i).turns.at(0).prompt);
    for (const TaskTurn& turn : answers[i].turns) CHECK(turn.answer.empty());
  }
  std::ofstream(request.file, std::ios::app) << "{\"half a li";  // as a kill may leave it
  request.target = nullptr;                                      // nobody to ask
  CHECK(target_answers(writer, request).size() == 3);
  const auto source = make_example_source(answers, writer, 1);
  std::set<Tokens> seen;
  for (std::uint64_t i = 0; i < 3; ++i) seen.insert(source->sample(i).tokens);
  CHECK(seen.size() == 3);
  CHECK_THROWS_WITH(make_example_source({}, writer, 1), Catch::Contains("not bring a single answer"));
}

TEST_CASE("A shuffled order has every index once, and another order for another key") {
  for (const std::uint64_t size : {1, 2, 5, 64, 1000}) {
    std::set<std::uint64_t> seen;
    std::uint64_t moved = 0;
    for (std::uint64_t i = 0; i < size; ++i) {
      seen.insert(shuffled(i, size, 1));
      moved += shuffled(i, size, 1) != shuffled(i, size, 2) ? 1 : 0;
    }
    CHECK(seen.size() == size);
    CHECK(*seen.rbegin() == size - 1);
    if (size > 60) CHECK(moved > size / 2);
  }
}

TEST_CASE("A text is predicted token by token, once a pass; its end is held out") {
  const testing::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 250; ++i) text += static_cast<char>(' ' + i % 90);
  TrainDataSettings data;
  data.files = {folder.write("text.txt", text).string()};
  data.heldout = 0.2;
  const auto tokenizer = testing::byte_tokenizer();
  const TextData made = make_text_data(data, *tokenizer, 10, 100);
  REQUIRE(made.heldout.size() == 5);  // of 25 rows
  std::multiset<std::string> rows, expected;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Sample sample = made.source->sample(i);
    REQUIRE(sample.tokens.size() == 11);
    rows.insert(tokenizer->decode(sample.tokens));
    expected.insert(text.substr(10 * i, 11));
  }
  CHECK(rows == expected);
  CHECK(tokenizer->decode(made.heldout[0].tokens) == text.substr(200, 11));
  CHECK(made.source->sample(0).tokens != made.source->sample(20).tokens);
  CHECK_THROWS_WITH(make_text_data(data, *tokenizer, 1000, 1), Catch::Contains("too few for a row of 1000"));
}

}  // namespace
}  // namespace foretell
