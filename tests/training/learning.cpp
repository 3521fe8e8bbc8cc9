#include "tests/training/learning.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/api/build_context.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/training/frozen_target.h"
#include "framework/training/language_loss.h"
#include "tests/support/catch.h"

namespace foretell::testing {

const CountingSource kCounting(61, 20);

namespace {

// Rounds of a greedy draft, if what draft_hits() says of the target's own text holds: [tokens / round].
double walked_length(const Learned& learned, const std::vector<Sample>& answered, int depth) {
  double tokens = 0, rounds = 0;
  for (const Sample& sample : answered) {
    TrainBatch batch = make_batch({sample}, at::kCPU);
    learned.prepare(batch);
    const at::Tensor hits = learned.learner->draft_hits(batch, depth).to(at::kLong);
    const auto last = static_cast<std::int64_t>(sample.tokens.size()) - 1;
    std::int64_t anchor = 0;
    while (sample.weights[static_cast<std::size_t>(anchor) + 1] == 0) ++anchor;
    while (anchor < last) {
      std::int64_t accepted = 0;
      while (accepted < hits.size(0) && hits[accepted][anchor - 1].item<std::int64_t>() == 1) ++accepted;
      const std::int64_t emitted = std::min(accepted + 1, last - anchor);
      anchor += emitted;
      tokens += static_cast<double>(emitted);
      ++rounds;
    }
  }
  return tokens / rounds;
}

}  // namespace

std::shared_ptr<const Tokenizer> few_tokens() {
  using nlohmann::json;
  json vocab = json::object();
  for (char letter = 'a'; letter <= 'z'; ++letter) vocab[std::string(1, letter)] = letter - 'a';
  const json file = {{"version", "1.0"},
                     {"added_tokens", json::array()},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"post_processor", nullptr},
                     {"decoder", {{"type", "ByteLevel"}}},
                     {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
  return parse_tokenizer_json(file.dump(), "tokenizer.json", {});
}

TrainSettings head_settings(int steps) {
  TrainSettings settings;
  settings.name = "small";
  settings.optimizer.learning_rate = 1e-2;
  settings.optimizer.warmup_steps = 2;
  settings.batch = {.rows = 4, .length = 24, .accumulate = 1};
  settings.run.steps = steps;
  settings.run.save_dtype = "f32";
  return settings;
}

std::shared_ptr<const LanguageModel> trained_to_count(const std::string& config) {
  const TrainSettings settings = head_settings(40);
  const auto model = small_model(config);
  Trainer trainer(std::make_shared<LanguageLoss>(model), settings, at::kCPU);
  for (int i = 0; i < settings.run.steps; ++i) trainer.step(kCounting);
  return model->snapshot(at::kFloat);
}

std::shared_ptr<const LanguageModel> counting_target() {
  static const std::shared_ptr<const LanguageModel> target = trained_to_count(small_llama());
  return target;
}

std::unique_ptr<Learned> learn_model(const std::string& section, TrainSettings settings, int steps,
                                     const std::string& config) {
  const TemporaryFolder folder;
  nlohmann::json words = nlohmann::json::parse(config);
  words["vocab_size"] = 300;  // as many as the tokenizer has, and more
  folder.write("config.json", words.dump());
  auto out = std::make_unique<Learned>();
  out->settings = std::move(settings);
  out->settings.model.config = (folder.path() / "config.json").string();
  out->learner = Registry<Learner>::instance().make(parse_yaml(section, "learner.yaml"), {});
  out->learner->set_up({out->settings, at::kCPU, byte_tokenizer(), nullptr});
  out->trainer = std::make_unique<Trainer>(out->learner, out->settings, at::kCPU);
  for (int i = 0; i < steps; ++i) out->trainer->step(kCounting);
  return out;
}

HeldoutSet counting_prompts() {
  HeldoutSet heldout;
  for (int i = 0; i < 12; ++i)
    heldout.answers.push_back(
        {"count", i % 2 == 0 ? kCounting.sample(static_cast<std::uint64_t>(i)).tokens : counted_tokens(5 + i, 61, i),
         "", 20});
  return heldout;
}

std::unique_ptr<Learned> learn(const std::string& section, TrainSettings settings, int steps,
                               const std::shared_ptr<const LanguageModel>& target) {
  auto out = std::make_unique<Learned>();
  out->settings = std::move(settings);
  out->learner = Registry<Learner>::instance().make(parse_yaml(section, "learner.yaml"), {});
  out->learner->set_up({out->settings, at::kCPU, few_tokens(), target});
  out->prepare = [frozen = FrozenTarget(target, out->learner->required_hidden_states())](TrainBatch& batch) {
    frozen.read(batch);
  };
  out->learner->see(kCounting, true);
  out->trainer = std::make_unique<Trainer>(out->learner, out->settings, at::kCPU, out->prepare);
  for (int i = 0; i < steps; ++i) out->trainer->step(kCounting);
  return out;
}

TrainBatch some_batch(const Prepare& prepare) {
  TrainBatch batch = make_batch({sample_of(counted_tokens(9, 61, 1)), sample_of(counted_tokens(12, 61, 2), 0.5f),
                                 sample_of(counted_tokens(9, 61, 3))},
                                at::kCPU);
  if (prepare) prepare(batch);
  return batch;
}

void check_gradients(Learned& learned, double tolerance, double least_margin) {
  const TrainBatch batch = some_batch(learned.prepare);
  learned.trainer->optimizer().clear_gradients();
  learned.learner->loss(batch).total.backward();
  const auto value = [&] {
    const c10::NoGradGuard no_grad;
    return learned.learner->loss(batch).total.item<double>();
  };
  const double step = 2e-3;
  // Both losses are rounded to float32, and so is what they are summed from.
  const double rounding = 2 * std::numeric_limits<float>::epsilon() * std::abs(value()) / step;
  const double margin = std::max(least_margin, rounding);
  for (const TrainParameter& parameter : learned.learner->parameters()) {
    INFO(parameter.name);
    REQUIRE(parameter.value.grad().defined());
    // Along the gradient itself, so that rounding is small beside the difference.
    const at::Tensor gradient = parameter.value.grad().clone();
    const double norm = gradient.norm().item<double>();
    if (norm == 0) continue;
    const c10::NoGradGuard no_grad;
    const at::Tensor along = gradient * (step / norm), at = parameter.value.detach();
    at.add_(along);
    const double above = value();
    at.sub_(along * 2);
    const double below = value();
    at.add_(along);
    CHECK((above - below) / (2 * step) == Approx(norm).epsilon(tolerance).margin(margin));
  }
  learned.trainer->optimizer().clear_gradients();
}

void check_acceptance(const Learned& learned, int depth, double above, double below) {
  const TemporaryFolder folder;
  learned.learner->save(folder.path());
  const HeldoutSet heldout = counting_prompts();
  const auto answered = answered_samples(counting_target(), heldout, 64);
  REQUIRE(answered.size() == heldout.answers.size());
  const HeldoutAcceptance measured =
      heldout_acceptance(counting_target(), *learned.learner->drafter(folder.path(), depth), heldout);
  CHECK(measured.length.at("") == Approx(walked_length(learned, answered, depth)));
  CHECK(measured.length.at("") > above);
  CHECK(measured.length.at("") < below);
  const std::vector<double> forced =
      teacher_forced_acceptance(*learned.learner, answered, depth, learned.settings.batch, at::kCPU, learned.prepare);
  REQUIRE(!forced.empty());
  CHECK(length_of(forced) > 1);
}

}  // namespace foretell::testing
