#include "experiments/divergence.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/base/error.h"
#include "framework/sampling/sampling.h"

namespace foretell {
namespace {

constexpr std::array<std::size_t, 3> kRowsTogether = {2, 5, 9};  // rows of one forward that the last row is read with
constexpr double kSpread = 4;  // the draft's other rows are not the text's: their noise may be larger than what was seen

// The logits behind `text`, whose last `together` tokens go through the target in one forward.
std::vector<float> last_row(const LanguageModel& target, TokenSpan text, std::size_t together) {
  const auto cache = target.make_cache(static_cast<int>(text.size()));
  const std::size_t before = text.size() - std::min(together, text.size());
  if (before > 0) target.forward(ForwardItem{text.first(before), ChainShape{}, cache.get(), LogitRows::None});
  const at::Tensor logits =
      target.forward(ForwardItem{text.subspan(before), ChainShape{}, cache.get(), LogitRows::Last}).logits.to(at::kCPU).contiguous();
  return {logits.const_data_ptr<float>(), logits.const_data_ptr<float>() + logits.numel()};
}

}  // namespace

Precision Precision::of(const std::string& dtype) {
  return {dtype == "bf16" || dtype == "bfloat16" ? 4e-3 : dtype == "f64" || dtype == "float64" ? 1e-14 : 1e-6};
}

Margin measure_margin(const LanguageModel& target, TokenSpan text, const Precision& precision) {
  FORETELL_CHECK(!text.empty(), "{} tokens before the difference", text.size());
  const std::vector<float> alone = last_row(target, text, 1);
  const std::vector<Token> best = highest(alone, 2);
  if (best.size() < 2) fail("the target has {} token with a finite logit there: nothing to compare", best.size());
  double moved = 0;
  for (const std::size_t rows : kRowsTogether) {
    const std::vector<float> joint = last_row(target, text, rows);
    for (const Token token : best) moved = std::max(moved, static_cast<double>(std::abs(joint[token] - alone[token])));
  }
  const double rounding = precision.rounding * std::abs(alone[best[0]]);
  return {best[0], best[1], static_cast<double>(alone[best[0]]) - alone[best[1]], kSpread * std::max(moved, rounding)};
}

void judge(const LanguageModel& target, TokenSpan text, const Precision& precision, Divergence& divergence) {
  const Margin found = measure_margin(target, text, precision);
  divergence.best = found.best;
  divergence.second = found.second;
  divergence.margin = found.margin;
  divergence.noise = found.noise;
  const auto among_best = [&](const std::optional<Token>& token) { return token && (*token == found.best || *token == found.second); };
  divergence.is_tie = among_best(divergence.a) && among_best(divergence.b) && found.margin <= found.noise;
}

}  // namespace foretell
