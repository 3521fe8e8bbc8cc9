// Mixtures of experts that are trained: derivatives beside finite differences for every router, losses beside another
// program's, and biases that even out the load.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>

#include "framework/api/build_context.h"
#include "framework/core/counter_normal.h"
#include "framework/model/load_model.h"
#include "framework/training/autograd/expert_ops.h"
#include "framework/training/learner.h"
#include "framework/training/model_folder.h"
#include "framework/training/trainer.h"
#include "tests/support/catch.h"
#include "tests/training/helpers.h"
#include "tests/training/learning.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::counted_tokens;
using testing::sample_of;

constexpr int kExperts = 4, kHidden = 6, kSize = 5;

at::Tensor normal(std::initializer_list<std::int64_t> shape, std::uint64_t seed) {
  at::Tensor values = at::empty(shape);
  for (std::int64_t i = 0; i < values.numel(); ++i)
    values.mutable_data_ptr<float>()[i] = 0.6f * normal_at(seed, static_cast<std::uint64_t>(i));
  return values.requires_grad_();
}

TrainableExperts small_experts() {
  TrainableExperts experts{.gate = normal({kExperts, kHidden}, 1), .selection_bias = {}, .experts = {}};
  for (int i = 0; i < kExperts; ++i)
    experts.experts.push_back({normal({2 * kSize, kHidden}, 10 + static_cast<std::uint64_t>(i)),
                               normal({kHidden, kSize}, 20 + static_cast<std::uint64_t>(i))});
  return experts;
}

TrainBatch rows_batch() {
  return make_batch({sample_of(counted_tokens(9, 61, 1)), sample_of(counted_tokens(9, 61, 2))}, at::kCPU);
}

TEST_CASE("gradients through every router agree with finite differences, for the gate and each expert") {
  const ExpertRule rule{.experts = kExperts, .experts_per_token = 2, .normalised = true};
  const TrainBatch batch = rows_batch();
  const std::int64_t rows = batch.tokens.size(0);
  const at::Tensor x = normal({rows, kHidden}, 3), seen = normal({rows, kHidden}, 4).detach();
  for (const char* name :
       {"top_k", "{type: top_k, k: 3, renormalise: false}", "switch", "sigmoid", "{type: sigmoid, renormalise: false}",
        "sqrt_softplus", "{type: group_limited, groups: 2, groups_kept: 1}", "top_p", "expert_skipping", "remoe",
        "base", "expert_choice", "sinkhorn", "noisy_top_k", "hash"}) {
    INFO(name);
    BuildContext context;
    context.vocab = 61;
    const auto router = Registry<Router>::instance().make(parse_yaml(name, "router.yaml"), context);
    const RoutedBatch routed = routed_batch(*router, rule, batch);
    TrainableExperts experts = small_experts();
    const auto value = [&] {
      RoutedStates states;
      const at::Tensor out = experts_training(x, experts, 0, routed, Activation::Silu, states);
      return (out * seen).sum() + 0.3 * load_balance_loss(states) + 0.2 * router_z_loss(states);
    };
    value().backward();
    std::vector<at::Tensor> parameters = {experts.gate, x};
    for (const TrainableExpert& expert : experts.experts) {
      parameters.push_back(expert.up);
      parameters.push_back(expert.down);
    }
    for (const at::Tensor& parameter : parameters) {
      if (!parameter.grad().defined()) continue;  // of an expert that no row took
      const double norm = at::linalg_vector_norm(parameter.grad()).item<double>();
      if (norm < 1e-5) continue;
      const at::Tensor direction = parameter.grad() / norm, held = parameter.detach();
      const c10::NoGradGuard no_grad;
      // Small, so that no row changes its experts on the way.
      const double step = 2e-3;
      held.add_(direction, step);
      const double above = value().item<double>();
      held.sub_(direction, 2 * step);
      const double below = value().item<double>();
      held.add_(direction, step);
      CHECK((above - below) / (2 * step) == Approx(norm).epsilon(0.03));
    }
    x.mutable_grad().reset();
  }
}

TEST_CASE("balance and z-loss are those of another program") {
  const auto file = testing::data_file("golden/router_exit_golden.json");
  if (!file) return;
  const auto golden = nlohmann::json::parse(testing::read_file(*file));
  std::vector<float> logits;
  for (const auto& row : golden.at("logits"))
    for (const auto& value : row) logits.push_back(value.get<float>());
  RoutedStates states{.logits = at::tensor(logits).view({-1, 8}),
                      .load = golden.at("stats_top2").at("counts").get<std::vector<std::int64_t>>()};
  CHECK(load_balance_loss(states).item<double>() ==
        Approx(golden.at("stats_top2").at("aux_megatron_coeff1").get<double>()).epsilon(1e-5));
  CHECK(router_z_loss(states).item<double>() ==
        Approx(golden.at("stats_top2").at("z_loss").get<double>()).epsilon(1e-5));
}

// A learner on a config file, as `foretell train` sets it up.
struct MoeRun {
  testing::TemporaryFolder folder;
  TrainSettings settings;
  std::shared_ptr<Learner> learner;
  std::unique_ptr<Trainer> trainer;
  std::vector<StepReport> reports;

  MoeRun(const std::string& section, int steps, const std::string& more = "")
      : settings(testing::head_settings(steps)) {
    const std::string file = (folder.path() / "config.json").string();
    std::ofstream(file) << testing::small_mixtral(R"("vocab_size": 259)" + (more.empty() ? more : ", " + more));
    settings.model.config = file;
    learner = Registry<Learner>::instance().make(parse_yaml(section, "learner.yaml"), {});
    learner->set_up({settings, at::kCPU, testing::byte_tokenizer()});
    trainer = std::make_unique<Trainer>(learner, settings, at::kCPU);
    const testing::CountingSource source(61, 20);
    for (int i = 0; i < steps; ++i) reports.push_back(trainer->step(source));
  }
  double term(int step, const std::string& name) const {
    for (const auto& [found, value] : reports.at(static_cast<std::size_t>(step)).losses)
      if (found == name) return value;
    return std::nan("");
  }
};

at::Tensor inference_logits(const LanguageModel& model, TokenSpan tokens) {
  const auto cache = model.make_cache(static_cast<int>(tokens.size()));
  return model
      .forward(ForwardItem{.input = tokens, .shape = ChainShape{}, .cache = cache.get(), .logits = LogitRows::All})
      .logits;
}

TEST_CASE("training and inference route alike and compute the same logits, and a saved mixture loads as it was") {
  for (const char* more :
       {R"("tie_word_embeddings": false)", R"("foretell_selection_bias": true)",
        R"("foretell_zero_experts": 1, "foretell_copy_experts": 1, "foretell_constant_experts": 2)"}) {
    INFO(more);
    const auto model = testing::small_model(testing::small_mixtral(more));
    const Tokens tokens = counted_tokens(20, 61, 5);
    const TrainBatch batch = make_batch({sample_of(tokens)}, at::kCPU);
    const c10::NoGradGuard no_grad;
    const at::Tensor logits = model->logits(model->forward(batch));
    const at::Tensor expected =
        inference_logits(*model->snapshot(at::kFloat), TokenSpan(tokens).first(tokens.size() - 1));
    CHECK((logits - expected).abs().max().item<float>() < 2e-4f);
    const testing::TemporaryFolder folder;
    write_model_config(folder.path(), model->config());
    write_weights(folder.path(), *model);
    const auto loaded = load_model(folder.path());
    CHECK(at::equal(inference_logits(*loaded, tokens), inference_logits(*model->snapshot(at::kFloat), tokens)));
    TrainableTransformer again(load_model_config(folder.path()), at::kCPU);
    again.load(folder.path());
    const auto before = model->parameters(), after = again.parameters();
    REQUIRE(before.size() == after.size());
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i].value, after[i].value));
  }
}

TEST_CASE("a mixture of experts learns, and its curve has losses and loads of each layer") {
  const MoeRun run("{type: lm, load_balance: 0.02, z_loss: 0.001}", 40);
  CHECK(run.term(39, "loss") < 0.6 * run.term(0, "loss"));
  CHECK(run.term(0, "load_balance") >= 0.99);
  CHECK(run.term(0, "z_loss") > 0);
  for (const char* name : {"max_violation.layer0", "load_variation.layer1", "load_entropy.layer1",
                           "dropped_rows.layer0", "neighbour_share.layer0"})
    CHECK(std::isfinite(run.term(39, name)));
}

TEST_CASE("biases of experts even out the load without a loss, and only by their sign") {
  const std::string biased = R"("foretell_selection_bias": true)";
  const MoeRun with("{type: lm, load_balance: 0, z_loss: 0, bias_update: 0.02}", 60, biased);
  const MoeRun without("{type: lm, load_balance: 0, z_loss: 0, bias_update: 0}", 60, biased);
  const auto late = [](const MoeRun& run) {
    double sum = 0;
    for (int step = 40; step < 60; ++step)
      sum += run.term(step, "max_violation.layer0") + run.term(step, "max_violation.layer1");
    return sum;
  };
  CHECK(late(with) < 0.9 * late(without));
  const MoeRun one("{type: lm, bias_update: 0.25}", 1, biased);
  for (const TrainParameter& parameter : one.learner->parameters()) {
    if (parameter.name.find("selection_bias") == std::string::npos) continue;
    const at::Tensor sizes = parameter.value.detach().abs();
    CHECK(((sizes == 0.25) + (sizes == 0)).all().item<bool>());
    CHECK(sizes.max().item<float>() == 0.25f);
  }
}

TEST_CASE("experts without matrices take rows and learn") {
  const MoeRun run("{type: lm, router: {type: moe_plus_plus}}", 30,
                   R"("foretell_zero_experts": 1, "foretell_copy_experts": 1, "foretell_constant_experts": 1)");
  CHECK(run.term(29, "loss") < 0.8 * run.term(0, "loss"));
  bool moved = false;
  for (const TrainParameter& parameter : run.learner->parameters())
    if (parameter.name.find("constant_experts.0.mix") != std::string::npos) moved = true;
  CHECK(moved);
}

TEST_CASE("any router trains, and what does not fit is told") {
  for (const char* router : {"switch", "remoe", "expert_choice", "noisy_top_k"}) {
    INFO(router);
    const MoeRun run(fmt::format("{{type: lm, router: {{type: {}}}}}", router), 12);
    CHECK(run.term(11, "loss") < run.term(0, "loss"));
  }
  CHECK_THROWS_WITH(MoeRun("{type: lm, router: {type: top_k, k: 9}}", 0),
                    Contains("learner.yaml:1") && Contains("k: 9 of 4"));
  CHECK_THROWS_WITH(MoeRun("{type: lm, bias_update: 0.1}", 0), Contains("foretell_selection_bias"));
}

}  // namespace
}  // namespace foretell
