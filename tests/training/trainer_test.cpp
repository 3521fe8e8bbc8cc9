// The optimiser against its formula, the loop, and going on where a run was stopped.
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <fstream>
#include <limits>

#include "framework/training/checkpoint.h"
#include "framework/training/language_loss.h"
#include "tests/support/catch.h"
#include "tests/training/helpers.h"

namespace foretell {
namespace {

const testing::CountingSource kSource(61, 12);

TrainSettings small_settings() {
  TrainSettings settings;
  settings.name = "small";
  settings.optimizer.learning_rate = 1e-2;
  settings.optimizer.warmup_steps = 2;
  settings.batch = {.rows = 4, .length = 16, .accumulate = 1};
  settings.run.steps = 12;
  return settings;
}

Trainer make_trainer(const std::shared_ptr<const TrainableTransformer>& model, const TrainSettings& settings) {
  return Trainer(std::make_shared<LanguageLoss>(model), settings, at::kCPU);
}

TEST_CASE("AdamW is its formula, with decay and clipping") {
  OptimizerSettings settings;
  settings.weight_decay = 0.1;
  const at::Tensor decaying = at::tensor({1.0f, -2.0f, 3.0f}).requires_grad_();
  const at::Tensor plain = at::tensor({0.5f}).requires_grad_();
  AdamW adam({{"matrix", decaying, true}, {"gain", plain, false}}, settings);
  std::vector<double> w = {1, -2, 3, 0.5}, m(4), v(4);
  for (int t = 1; t <= 3; ++t) {
    std::vector<double> g;
    for (int i = 0; i < 4; ++i) g.push_back(0.3 * t * (i - 1.5));
    decaying.mutable_grad() =
        at::tensor({static_cast<float>(g[0]), static_cast<float>(g[1]), static_cast<float>(g[2])});
    plain.mutable_grad() = at::tensor({static_cast<float>(g[3])});
    const double norm = std::sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2] + g[3] * g[3]);
    CHECK(adam.gradient_norm() == Approx(norm));
    adam.step(0.01, 2.0);
    adam.clear_gradients();
    for (int i = 0; i < 4; ++i) {
      const double gradient = g[i] / 2;
      w[i] -= 0.01 * (i < 3 ? 0.1 : 0.0) * w[i];
      m[i] = 0.9 * m[i] + 0.1 * gradient;
      v[i] = 0.95 * v[i] + 0.05 * gradient * gradient;
      w[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, t))) / (std::sqrt(v[i] / (1 - std::pow(0.95, t))) + settings.eps);
    }
  }
  for (int i = 0; i < 3; ++i) CHECK(decaying[i].item<double>() == Approx(w[i]).epsilon(1e-5));
  CHECK(plain[0].item<double>() == Approx(w[3]).epsilon(1e-5));
  CHECK(adam.steps_done() == 3);
}

TEST_CASE("The learning rate warms up, then falls along a cosine") {
  OptimizerSettings settings;
  settings.learning_rate = 1;
  settings.warmup_steps = 10;
  settings.min_lr_ratio = 0.1;
  CHECK(learning_rate_at(settings, 0, 111) == Approx(0.1));
  CHECK(learning_rate_at(settings, 9, 111) == Approx(1));
  CHECK(learning_rate_at(settings, 10, 111) == Approx(1));
  CHECK(learning_rate_at(settings, 60, 111) == Approx(0.55));
  CHECK(learning_rate_at(settings, 110, 111) == Approx(0.1));
  settings.schedule = "linear";
  CHECK(learning_rate_at(settings, 35, 111) == Approx(0.1 + 0.9 * 0.75));
  CHECK(learning_rate_at(settings, 110, 111) == Approx(0.1));
  settings.schedule = "constant";
  CHECK(learning_rate_at(settings, 4, 111) == Approx(0.5));
  CHECK(learning_rate_at(settings, 110, 111) == Approx(1));
  settings.schedule = "cosine";
  settings.warmup_steps = 0;
  CHECK(learning_rate_at(settings, 0, 1) == Approx(1));
}

TEST_CASE("The loss falls on what can be learned") {
  TrainSettings settings = small_settings();
  settings.run.steps = 60;
  const auto model = testing::small_model(testing::small_llama());
  Trainer trainer = make_trainer(model, settings);
  const double first = trainer.step(kSource).losses.at(0).second;
  double last = first;
  for (int i = 1; i < 60; ++i) last = trainer.step(kSource).losses.at(0).second;
  CHECK(first > 3);
  CHECK(last < 0.5);
}

TEST_CASE("Parts of a batch add up to the whole batch") {
  TrainSettings whole = small_settings(), parts = small_settings();
  whole.batch = {.rows = 6, .length = 11, .accumulate = 1};
  parts.batch = {.rows = 3, .length = 11, .accumulate = 2};
  const auto model_a = testing::small_model(testing::small_llama()),
             model_b = testing::small_model(testing::small_llama());
  Trainer a = make_trainer(model_a, whole), b = make_trainer(model_b, parts);
  const StepReport report_a = a.step(kSource), report_b = b.step(kSource);
  CHECK(a.data().next_sample == b.data().next_sample);
  CHECK(report_a.losses.at(0).second == Approx(report_b.losses.at(0).second).epsilon(1e-5));
  CHECK(report_a.gradient_norm == Approx(report_b.gradient_norm).epsilon(1e-4));
}

TEST_CASE("A run that goes on from a checkpoint is the run that was not stopped, bit for bit") {
  const testing::TemporaryFolder folder;
  const TrainSettings settings = small_settings();
  const auto straight = testing::small_model(testing::small_llama());
  Trainer trainer = make_trainer(straight, settings);
  std::vector<double> losses;
  for (int i = 0; i < 12; ++i) losses.push_back(trainer.step(kSource).losses.at(0).second);

  Trainer first = make_trainer(testing::small_model(testing::small_llama()), settings);
  for (int i = 0; i < 5; ++i) CHECK(first.step(kSource).losses.at(0).second == losses[static_cast<std::size_t>(i)]);
  save_checkpoint(folder.path() / "state", first, {"settings", {{5, {{"loss", 0.1}}}}, 1.5});

  const auto resumed = testing::small_model(testing::small_llama(), 99);
  Trainer second = make_trainer(resumed, settings);
  const RunState state = load_checkpoint(folder.path() / "state", second, "settings");
  CHECK(second.steps_done() == 5);
  CHECK(state.seconds == 1.5);
  REQUIRE(state.curve.size() == 1);
  CHECK(state.curve[0].values[0].second == 0.1);
  for (int i = 5; i < 12; ++i) CHECK(second.step(kSource).losses.at(0).second == losses[static_cast<std::size_t>(i)]);
  const auto a = straight->parameters(), b = resumed->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i].value, b[i].value));
}

void flip_byte(const std::filesystem::path& file, std::int64_t from_end) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(-from_end, std::ios::end);
  const int byte = stream.get();
  stream.seekp(-from_end, std::ios::end);
  stream.put(static_cast<char>(byte ^ 1));
}

TEST_CASE("A checkpoint that is damaged or of other settings is refused, and the weights stay") {
  const testing::TemporaryFolder folder;
  const auto file = folder.path() / "state";
  const auto model = testing::small_model(testing::small_llama());
  const TrainSettings settings = small_settings();
  Trainer trainer = make_trainer(model, settings);
  trainer.step(kSource);
  save_checkpoint(file, trainer, {"learning_rate: 1\nsteps: 2\n", {}, 0});
  CHECK_THROWS_WITH(load_checkpoint(file, trainer, "learning_rate: 1\nsteps: 3\n"),
                    Catch::Contains("steps: 2") && Catch::Contains("steps: 3") && Catch::Contains("--restart"));
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(file));
  const at::Tensor before = model->parameters()[0].value.detach().clone();
  flip_byte(file, size / 2);
  CHECK_THROWS_WITH(load_checkpoint(file, trainer, "learning_rate: 1\nsteps: 2\n"), Catch::Contains("damaged"));
  flip_byte(file, size / 2);
  CHECK_NOTHROW(load_checkpoint(file, trainer, "learning_rate: 1\nsteps: 2\n"));
  std::filesystem::resize_file(file, static_cast<std::uintmax_t>(size / 2));
  CHECK_THROWS_AS(load_checkpoint(file, trainer, "learning_rate: 1\nsteps: 2\n"), Error);
  CHECK(at::equal(before, model->parameters()[0].value));
}

TEST_CASE("A loss that is not a number ends the run and names the step") {
  const auto model = testing::small_model(testing::small_llama());
  const TrainSettings settings = small_settings();
  Trainer trainer = make_trainer(model, settings);
  trainer.step(kSource);
  model->parameters()[0].value.detach()[0][0].fill_(std::numeric_limits<float>::quiet_NaN());
  const at::Tensor before = model->parameters()[1].value.detach().clone();
  CHECK_THROWS_WITH(trainer.step(kSource), Catch::Contains("step 2") && Catch::Contains("learning_rate"));
  CHECK(at::equal(before, model->parameters()[1].value));
}

}  // namespace
}  // namespace foretell
