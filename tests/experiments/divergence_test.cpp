// Ties and differences that are none.
#include "experiments/divergence.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include "experiments/certify/toy_model.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

// Says the same whatever it reads; in forwards of several rows its first token gains `jitter` a row.
class Fixed final : public LanguageModel {
 public:
  Fixed(std::vector<float> logits, float jitter) : logits_(std::move(logits)), jitter_(jitter), inner_({.vocab = 4}) {}
  const ModelConfig& config() const override { return inner_.config(); }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return inner_.make_cache(capacity); }
  at::Device device() const override { return at::kCPU; }
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions&) const override {
    std::vector<float> row = logits_;
    row[0] += jitter_ * static_cast<float>(std::get<TokenSpan>(batch[0].input).size() - 1);
    return {.logits = at::tensor(row, at::kFloat).view({1, 4}), .taps = {}, .final_state = {}, .last_state = {}, .experts_touched = {}};
  }
  using LanguageModel::forward;

 private:
  std::vector<float> logits_;
  float jitter_;
  certify::ToyModel inner_;
};

const Tokens kText = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1};

const TextBefore kBefore = {TokenSpan(kText).first(8), TokenSpan(kText).subspan(8)};  // "2 1" is the answer so far

Divergence judged(const LanguageModel& model, Token a, std::optional<Token> b, const SamplingOptions& sampling = {}) {
  Divergence difference{.a = a, .b = b};
  judge(model, kBefore, Sampler(sampling, 4), Precision::of("f32"), difference);
  return difference;
}

TEST_CASE("a difference between two nearly equal logits that move with the rows is a tie") {
  const Divergence found = judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, 0);
  CHECK(found.best == 1);
  CHECK(found.second == 0);
  CHECK(found.margin == Approx(0.002).epsilon(1e-3));
  CHECK(found.noise == Approx(4 * 0.008).epsilon(1e-3));
  CHECK(found.is_tie);
}

TEST_CASE("a margin above the noise is not explained, and neither is a token that was never close") {
  CHECK_FALSE(judged(Fixed({1.0f, 1.1f, 0.0f, -1.0f}, 0.001f), 1, 0).is_tie);
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, 2).is_tie);
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.0f), 1, 0).is_tie);
}

TEST_CASE("the rounding of the number type counts as noise") {
  const Fixed model({10.0f, 10.03f, 0.0f, -1.0f}, 0.0f);
  const Sampler greedy({}, 4);
  CHECK(measure_margin(model, kBefore, greedy, Precision::of("bf16")).noise == Approx(4 * 0.004 * 10.03).epsilon(1e-3));
  CHECK(measure_margin(model, kBefore, greedy, Precision::of("f32")).noise < 1e-3);
}

TEST_CASE("which logits are nearly equal is decided behind penalties and bias, as the runs decided it") {
  // Token 1 leads by far until what stands in the prompt (1, 2, 3) is divided by two and what stands in the answer (1, 3) loses one more.
  const Fixed model({1.0f, 4.0f, 2.002f, 0.5f}, 0.001f);
  CHECK(judged(model, 1, 2).margin > 1);
  const Divergence found = judged(model, 1, 2, {.repetition_penalty = 2.0, .presence_penalty = 1.0});
  CHECK((found.best == 2 && found.second == 0));
  CHECK(found.margin == Approx(0.001).epsilon(0.01));
  CHECK_FALSE(found.is_tie);  // token 1 is not among the two best
  CHECK(judged(model, 0, 2, {.repetition_penalty = 2.0, .presence_penalty = 1.0}).is_tie);
  CHECK(judged(model, 1, 3, {.logit_bias = {"3:3.498"}}).margin == Approx(0.002).epsilon(0.01));
}

TEST_CASE("an answer that ended early is compared with what went on") {
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, std::nullopt).is_tie);
}

}  // namespace
}  // namespace foretell
