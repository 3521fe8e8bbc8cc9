// Learners of models that can be left early: their schedules, their losses and derivatives, and runs that go on.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "framework/api/build_context.h"
#include "framework/model/heads/exit_heads.h"
#include "framework/training/checkpoint.h"
#include "framework/training/evaluation.h"
#include "framework/training/frozen_target.h"
#include "framework/training/learners/exits/exit_model_learner.h"
#include "framework/training/learners/exits/layerskip_schedule.h"
#include "framework/training/trainer.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/training/learning.h"

namespace foretell {
namespace {

using namespace foretell::training::learners::exits;
using testing::kCounting;

std::unique_ptr<testing::Learned> learn_model(const std::string& section, int steps, const std::string& config) {
  TrainSettings settings = testing::head_settings(20);
  return testing::learn_model(section, std::move(settings), steps, config);
}

TEST_CASE("layerskip: dropout and shares of a 7B model are the paper's formulas") {
  const char* data = std::getenv("FORETELL_DATA");
  if (!data) {
    std::puts("SKIPPED layerskip golden values: FORETELL_DATA is not set");
    return;
  }
  std::ifstream in(std::string(data) + "/golden/router_exit_golden.json");
  const auto expected = nlohmann::json::parse(in).at("layerskip_7B");
  const std::vector<double> dropout = layer_dropout(0.1, 32, false, 0, 100), scales = exit_scales(0.2, 32);
  for (std::size_t layer = 0; layer < 32; ++layer) {
    CHECK(dropout[layer] == Approx(expected.at("dropout")[layer].get<double>()).margin(1e-12));
    CHECK(scales[layer] == Approx(expected.at("e")[layer].get<double>()));
  }
}

TEST_CASE("layerskip: dropout grows with the layer and, warming, along the run") {
  const std::vector<double> steady = layer_dropout(0.4, 3, false, 0, 10);
  CHECK(steady[0] == 0);
  CHECK(steady[1] == Approx(0.4 * (std::sqrt(2.0) - 1)));
  CHECK(steady[2] == Approx(0.4));
  CHECK(layer_dropout(0.4, 3, true, 0, 11).back() == 0);
  CHECK(layer_dropout(0.4, 3, true, 5, 11).back() == Approx(0.4 * (std::sqrt(2.0) - 1)));
  CHECK(layer_dropout(0.4, 3, true, 10, 11).back() == Approx(0.4));
}

TEST_CASE("layerskip: curricula enable the exits that the paper says, the last one always") {
  const auto on = [](Curriculum curriculum, int step) {
    std::string out;
    for (const bool enabled : enabled_exits(curriculum, 3, 5, step, 100)) out += enabled ? '1' : '0';
    return out;
  };
  CHECK(on(Curriculum::All, 0) == "11111");
  CHECK(on(Curriculum::Rotational, 0) == "10011");
  CHECK(on(Curriculum::Rotational, 1) == "01001");
  CHECK(on(Curriculum::Rotational, 2) == "00101");
  CHECK(on(Curriculum::Rotational, 3) == on(Curriculum::Rotational, 0));
  CHECK(on(Curriculum::Gradual, 0) == "00001");
  CHECK(on(Curriculum::Gradual, 20) == "00011");
  CHECK(on(Curriculum::Gradual, 49) == "01111");
  CHECK(on(Curriculum::Gradual, 50) == "11111");
  const std::vector<double> shares = exit_shares({0, 1, 2, 5}, {true, true, false, true});
  CHECK(shares == std::vector<double>{0, 1.0 / 6, 0, 5.0 / 6});
}

TEST_CASE("a model's early losses are those of its own norm and head, and so is their derivative") {
  const std::string deep = R"("num_hidden_layers": 4)";
  for (const char* section :
       {"{type: layerskip, dropout: 0.6, warming: false, curriculum: all, early_exit_scale: 1}",
        "{type: layerskip, dropout: 0.3, rotation: 2}", "{type: multi_exit, layers: [1, 3], weights: [0.5, 0.25]}",
        "{type: multi_exit, aggregation: geometric}"}) {
    INFO(section);
    testing::check_gradients(*learn_model(section, 1, testing::small_llama(deep)), 0.04);
  }
  testing::check_gradients(*learn_model("{type: layerskip, dropout: 0.3}", 1, testing::small_gpt2()), 0.04);

  const auto learned =
      learn_model("{type: multi_exit, layers: [1, 3], weights: [0.5, 0.25]}", 2, testing::small_llama(deep));
  const TrainBatch batch = testing::some_batch({});
  const c10::NoGradGuard no_grad;
  const auto model = learned->learner->snapshot();
  TrainBatch read = testing::some_batch({});
  FrozenTarget(model, {.aux_states = {1, 3}, .final_state = true}).read(read);
  const auto loss_of = [&](const at::Tensor& normed) {
    const at::Tensor rows = at::log_softmax(
        [&] {
          const c10::InferenceMode inference;
          return model->parts()->head().logits(normed.index_select(0, batch.loss_rows));
        }(),
        -1);
    double sum = 0;
    for (std::int64_t i = 0; i < rows.size(0); ++i)
      sum -= batch.weights[i].item<double>() * rows[i][batch.targets[i].item<std::int64_t>()].item<double>();
    return sum;
  };
  const auto behind = [&](std::size_t exit) {
    const c10::InferenceMode inference;
    return model->parts()->final_norm(read.target.aux_states[exit]);
  };
  const double first = loss_of(behind(0)), third = loss_of(behind(1)), last = loss_of(read.target.final_state);
  CHECK(learned->learner->loss(batch).total.item<double>() ==
        Approx((last + 0.5 * first + 0.25 * third) / batch.normaliser).epsilon(1e-4));
  CHECK(learned->learner->heldout_loss(batch) == Approx(last).epsilon(1e-4));
  CHECK(learned->learner->exits() == std::vector<int>{1, 2, 3});
  CHECK(learned->learner->exit_losses(batch).at(0) == Approx(first).epsilon(1e-4));
  CHECK(learned->learner->exit_losses(batch).at(2) == Approx(third).epsilon(1e-4));
}

TEST_CASE("layerskip: a sequence that skips all layers but the first is what one layer computes") {
  // dropout 0.99 of four layers: with this batch each sequence skips the last layer.
  const auto whole = testing::small_model(testing::small_llama(R"("num_hidden_layers": 3)"));
  const TrainBatch batch = testing::some_batch({});
  const c10::NoGradGuard no_grad;
  const at::Tensor none = at::zeros({batch.tokens.size(0), 1});
  const autograd::LayerStates plain = whole->forward(batch, {.states = {1}});
  const autograd::LayerStates skipped = whole->forward(batch, {.states = {1, 2}, .factors = {{}, none, none}});
  CHECK(at::equal(plain.states[0], skipped.states[0]));
  CHECK(at::equal(skipped.states[0], skipped.states[1]));
  CHECK(at::equal(skipped.normed, whole->final_norm(plain.states[0])));
  CHECK_FALSE(at::equal(plain.normed, skipped.normed));
}

TEST_CASE("layerskip: rows that leave early learn to be right, and their drafts are accepted") {
  const std::string deep = R"("num_hidden_layers": 4)";
  const auto learned_with = [&](const char* scale) {
    return testing::learn_model(
        fmt::format("{{type: layerskip, dropout: 0.1, early_exit_scale: {}, evaluated_layers: [2]}}", scale),
        testing::head_settings(60), 60, testing::small_llama(deep));
  };
  const auto learned = learned_with("1"), plain = learned_with("0");  // 0: the last layer's loss alone
  const std::vector<Sample> samples = {kCounting.sample(100), kCounting.sample(101)};
  const auto early_loss = [&](const testing::Learned& of) {
    return heldout_exit_losses(*of.learner, samples, of.settings.batch, at::kCPU).at(0);
  };
  CHECK(early_loss(*learned) < early_loss(*plain));
  const double last = heldout_loss(*learned->learner, samples, learned->settings.batch, at::kCPU).at("");
  CHECK(early_loss(*learned) < 1.2 * last + 0.2);
  const auto drafted_by = *learned->learner->exit_drafter("", 2);
  CHECK(heldout_acceptance(learned->learner->snapshot(), drafted_by, testing::counting_prompts()).length.at("") > 2);
}

TEST_CASE("layerskip: a run that goes on has the same losses, dropout included") {
  const std::string section = "{type: layerskip, dropout: 0.5, rotation: 2}";
  const auto straight = learn_model(section, 4, testing::small_llama());
  const auto first = learn_model(section, 2, testing::small_llama());
  const auto second = learn_model(section, 0, testing::small_llama());
  const testing::TemporaryFolder folder;
  save_checkpoint(folder.path() / "state", *first->trainer, {"settings", {}, 0});
  load_checkpoint(folder.path() / "state", *second->trainer, "settings");
  for (int i = 0; i < 2; ++i) second->trainer->step(kCounting);
  const auto a = straight->learner->parameters(), b = second->learner->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i].value, b[i].value));
}

// A target of four layers that counts most of the time.
std::shared_ptr<const LanguageModel> deep_target() {
  static const std::shared_ptr<const LanguageModel> target =
      testing::trained_to_count(testing::small_llama(R"("num_hidden_layers": 4)"));
  return target;
}

TEST_CASE("exit heads: the derivative is that of the loss, whatever the head's form") {
  const auto layer_norm = testing::small_model(testing::small_gpt2())->snapshot(at::kFloat);
  for (const char* form :
       {"form: linear", "form: translator", "form: mlp, inner: 20", "form: mlp, output: own, kl: 0.5"})
    for (const auto& target : {deep_target(), layer_norm}) {
      INFO(form);
      const std::string section = fmt::format("{{type: exit_heads, target: t, layers: [1], {}}}", form);
      testing::check_gradients(*testing::learn(section, testing::head_settings(30), 2, target), 0.04);
    }
}

TEST_CASE("exit heads: what is saved answers as it was trained, the trunk stays, and drafts are accepted") {
  for (const char* form : {"linear", "translator", "mlp"}) {
    INFO(form);
    const std::string section =
        fmt::format("{{type: exit_heads, target: t, layers: [1, 2], weights: [1, 0.5], form: {}}}", form);
    TrainSettings settings = testing::head_settings(80);
    const auto fresh = testing::learn(section, settings, 0, deep_target());
    const at::Tensor before = deep_target()->parts()->head().logits(at::ones({1, 32}));
    const auto learned = testing::learn(section, settings, 50, deep_target());
    CHECK(at::equal(before, deep_target()->parts()->head().logits(at::ones({1, 32}))));

    const testing::TemporaryFolder folder;
    learned->learner->save(folder.path());
    TrainBatch batch = testing::some_batch(learned->prepare);
    const auto heads = TrainedExitHeads::load(TrainedExitHeads::file_of(folder.path()), deep_target());
    CHECK(heads->layers() == std::vector<int>{1, 2});
    for (std::size_t exit = 0; exit < 2; ++exit) {
      const c10::InferenceMode inference;
      const at::Tensor states = batch.target.aux_states[exit].index_select(0, batch.loss_rows);
      const at::Tensor log_q = at::log_softmax(heads->at(static_cast<int>(exit) + 1).logits(states), -1);
      double sum = 0;
      for (std::int64_t i = 0; i < log_q.size(0); ++i)
        sum -= batch.weights[i].item<double>() * log_q[i][batch.targets[i].item<std::int64_t>()].item<double>();
      CHECK(learned->learner->exit_losses(batch).at(exit) == Approx(sum).epsilon(1e-3));
    }
    const std::vector<Sample> samples = {kCounting.sample(100), kCounting.sample(101)};
    const auto loss_of = [&](const testing::Learned& of) {
      return heldout_exit_losses(*of.learner, samples, of.settings.batch, at::kCPU, of.prepare).at(0);
    };
    CHECK(loss_of(*learned) < 0.8 * loss_of(*fresh));
    // Drafts behind layer 1 are accepted more often than with the target's own head there.
    const HeldoutSet prompts = testing::counting_prompts();
    const double with =
        heldout_acceptance(deep_target(), *learned->learner->exit_drafter(folder.path(), 1), prompts).length.at("");
    const double without = heldout_acceptance(deep_target(), {.drafter = self_section(1, 4)}, prompts).length.at("");
    CHECK(with > without);
  }
}

TEST_CASE("exit heads: a run that goes on has the same heads") {
  const std::string section = "{type: exit_heads, target: t, layers: [1, 3], form: mlp}";
  const auto straight = testing::learn(section, testing::head_settings(20), 4, deep_target());
  const auto first = testing::learn(section, testing::head_settings(20), 2, deep_target());
  const auto second = testing::learn(section, testing::head_settings(20), 0, deep_target());
  const testing::TemporaryFolder folder;
  save_checkpoint(folder.path() / "state", *first->trainer, {"settings", {}, 0});
  load_checkpoint(folder.path() / "state", *second->trainer, "settings");
  for (int i = 0; i < 2; ++i) second->trainer->step(kCounting);
  const auto a = straight->learner->parameters(), b = second->learner->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i].value, b[i].value));
}

// One whose layers seldom say the same.
std::shared_ptr<const LanguageModel> random_target() {
  static const std::shared_ptr<const LanguageModel> target =
      testing::small_model(testing::small_llama(R"("num_hidden_layers": 4)"))->snapshot(at::kFloat);
  return target;
}

TEST_CASE("exit classifier: each loss is its formula, and its derivative") {
  const double eps = 1e-3;
  for (const char* form : {"loss: binary", "loss: binary, balance: batch", "loss: binary, balance: prior",
                           "loss: geometric", "loss: geometric, shared: false"}) {
    INFO(form);
    const auto learned = testing::learn(fmt::format("{{type: exit_classifier, target: t, {}}}", form),
                                        testing::head_settings(30), 3, random_target());
    testing::check_gradients(*learned, 0.04);
    const TrainBatch batch = testing::some_batch(learned->prepare);
    const c10::InferenceMode inference;
    const ModelParts& parts = *random_target()->parts();
    const auto parameters = learned->learner->parameters();
    const bool shared = parameters[0].value.size(0) == 1;
    const auto rows = [&](const at::Tensor& of) { return of.index_select(0, batch.loss_rows); };
    const at::Tensor said = parts.head().logits(rows(batch.target.final_state)).argmax(-1);
    std::vector<std::vector<double>> s(3), agrees(3);
    for (std::int64_t exit = 0; exit < 3; ++exit) {
      const at::Tensor state = rows(batch.target.aux_states[static_cast<std::size_t>(exit)]);
      const at::Tensor scaled = state / state.square().mean(-1, true).sqrt();
      const at::Tensor z =
          at::matmul(scaled, parameters[0].value[shared ? 0 : exit]) + parameters[1].value[shared ? 0 : exit];
      const at::Tensor same = parts.head().logits(parts.final_norm(state)).argmax(-1).eq(said);
      for (std::int64_t i = 0; i < z.size(0); ++i) {
        s[exit].push_back(z[i].item<double>());
        agrees[exit].push_back(same[i].item<bool>() ? 1 : 0);
      }
    }
    const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
    double expected = 0;
    for (std::size_t i = 0; i < s[0].size(); ++i) {
      double row = 0, left = 1;
      bool found = false;
      for (std::size_t exit = 0; exit < 3; ++exit) {
        double share = 0;
        for (const double a : agrees[exit]) share += a / static_cast<double>(agrees[exit].size());
        const bool yes = agrees[exit][i] > 0;
        double z = s[exit][i];
        if (std::string(form).find("prior") != std::string::npos)
          z += std::log(std::max(share, 1e-4) / std::max(1 - share, 1e-4));
        double each = -std::log(yes ? sigmoid(z) : 1 - sigmoid(z));
        if (std::string(form).find("batch") != std::string::npos) each *= yes ? 1 - share : share;
        if (std::string(form).find("binary") != std::string::npos)
          row += each / 3;
        else if (yes && !found)
          row = -std::log(left * sigmoid(z));
        found = found || yes;
        left *= 1 - sigmoid(z);
      }
      if (std::string(form).find("geometric") != std::string::npos && !found) row = -std::log(left);
      expected += batch.weights[static_cast<std::int64_t>(i)].item<double>() * row / batch.normaliser;
    }
    CHECK(learned->learner->loss(batch).total.item<double>() == Approx(expected).epsilon(eps));
  }
}

TEST_CASE("trained probes and predictors are read by their policies, and let rows leave that agree") {
  for (const auto& [section, key, target] :
       {std::tuple{"{type: exit_classifier, target: t, shared: false}", "{type: classifier, probe: ", random_target()},
        {"{type: exit_predictor, target: t, layers: [1, 2, 3], inner: 16}",
         "{type: specee, predictor: ", deep_target()}}) {
    INFO(section);
    const auto fresh = testing::learn(section, testing::head_settings(60), 0, target);
    const auto learned = testing::learn(section, testing::head_settings(60), 40, target);
    testing::check_gradients(*fresh, 0.05);
    TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.9 * fresh->learner->heldout_loss(rows));
    const testing::TemporaryFolder folder;
    learned->learner->save(folder.path());
    const std::string policy = key + folder.path().string() + ", threshold: 0.6}";
    ConfigValue section_of_self = drafter_section("self", 4);
    section_of_self.set("exit", parse_yaml(policy, "study.yaml"));
    const auto measured = heldout_acceptance(target, {.drafter = section_of_self}, testing::counting_prompts());
    CHECK(measured.length.at("") > 1);
  }
}

TEST_CASE("learners of early exits say what they cannot do") {
  const auto fails = [](const std::string& section) {
    try {
      learn_model(section, 0, testing::small_llama());
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK(fails("{type: layerskip, evaluated_layers: [9]}").find("cannot leave behind layer 9") != std::string::npos);
  CHECK(fails("{type: layerskip, dropout: 1}").find("dropout") != std::string::npos);
  CHECK(fails("{type: multi_exit, layers: [7]}").find("expected increasing numbers from 1") != std::string::npos);
  CHECK(fails("{type: multi_exit, layers: [1], weights: [1, 2]}").find("there are 2 for 1 layer") != std::string::npos);
}

}  // namespace
}  // namespace foretell
