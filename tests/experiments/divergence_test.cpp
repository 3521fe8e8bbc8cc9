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

Divergence judged(const LanguageModel& model, Token a, Token b) {
  Divergence difference{.a = a, .b = b};
  judge(model, kText, Precision::of("f32"), difference);
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
  CHECK(measure_margin(model, kText, Precision::of("bf16")).noise == Approx(4 * 0.004 * 10.03).epsilon(1e-3));
  CHECK(measure_margin(model, kText, Precision::of("f32")).noise < 1e-3);
}

TEST_CASE("an answer that ended early is compared with what went on") {
  Divergence difference{.a = 1};
  judge(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), kText, Precision::of("f32"), difference);
  CHECK_FALSE(difference.is_tie);
}

}  // namespace
}  // namespace foretell
