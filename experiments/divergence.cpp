#include "experiments/divergence.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/base/error.h"

namespace foretell {
namespace {

constexpr std::array<std::size_t, 3> kRowsTogether = {2, 5, 9};  // rows of one forward that the last row is read with
constexpr std::size_t kRowsRead = 128;                           // of one forward of near_ties(): their logits are held at once
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

Margin measure_margin(const LanguageModel& target, const TextBefore& before, const Sampler& sampler, const Precision& precision) {
  Tokens text(before.prompt.begin(), before.prompt.end());
  text.insert(text.end(), before.answer.begin(), before.answer.end());
  FORETELL_CHECK(!text.empty(), "{} tokens before the difference", text.size());
  const auto adjusted = [&](std::vector<float> row) {
    sampler.adjust(row, {before.prompt, before.answer, {}});
    return row;
  };
  const std::vector<float> raw = last_row(target, text, 1), alone = adjusted(raw);
  const std::vector<Token> best = highest(alone, 2);
  if (best.size() < 2) fail("the target has {} token with a finite logit there: nothing to compare", best.size());
  double moved = 0;
  for (const std::size_t rows : kRowsTogether) {
    const std::vector<float> joint = adjusted(last_row(target, text, rows));
    for (const Token token : best) moved = std::max(moved, static_cast<double>(std::abs(joint[token] - alone[token])));
  }
  const double rounding = precision.rounding * std::max(std::abs(raw[best[0]]), std::abs(alone[best[0]]));
  return {best[0], best[1], static_cast<double>(alone[best[0]]) - alone[best[1]], kSpread * std::max(moved, rounding)};
}

std::vector<NearTie> near_ties(const LanguageModel& target, const TextBefore& text, const Sampler& sampler, const Precision& precision) {
  std::vector<NearTie> ties;
  const auto cache = target.make_cache(static_cast<int>(text.prompt.size() + text.answer.size()));
  const auto read = [&](TokenSpan tokens, LogitRows rows) {
    return target.forward(ForwardItem{tokens, ChainShape{}, cache.get(), rows}).logits;
  };
  for (TokenSpan left = text.prompt.first(text.prompt.size() - 1); !left.empty(); left = left.subspan(std::min(kRowsRead, left.size())))
    read(left.first(std::min(kRowsRead, left.size())), LogitRows::None);
  // The row of the prompt's last token decides the answer's first one.
  Tokens rows = {text.prompt.back()};
  if (!text.answer.empty()) rows.insert(rows.end(), text.answer.begin(), text.answer.end() - 1);
  for (std::size_t at = 0; at < rows.size(); at += kRowsRead) {
    const TokenSpan chunk = TokenSpan(rows).subspan(at, std::min(kRowsRead, rows.size() - at));
    const at::Tensor logits = read(chunk, LogitRows::All).to(at::kCPU).contiguous();
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      const float* first = logits.const_data_ptr<float>() + static_cast<std::int64_t>(i) * logits.size(1);
      std::vector<float> row(first, first + logits.size(1));
      const std::vector<float> raw = row;
      sampler.adjust(row, {text.prompt, text.answer.first(at + i), {}});
      const std::vector<Token> best = highest(row, 2);
      if (best.size() < 2) continue;
      const double margin = static_cast<double>(row[best[0]]) - row[best[1]];
      const double noise = precision.rounding * std::max(std::abs(raw[best[0]]), std::abs(row[best[0]]));
      if (margin <= noise) ties.push_back({static_cast<int>(at + i), best[0], best[1], margin, noise});
    }
  }
  return ties;
}

void judge(const LanguageModel& target, const TextBefore& text, const Sampler& sampler, const Precision& precision,
           Divergence& divergence) {
  const Margin found = measure_margin(target, text, sampler, precision);
  divergence.best = found.best;
  divergence.second = found.second;
  divergence.margin = found.margin;
  divergence.noise = found.noise;
  const auto among_best = [&](const std::optional<Token>& token) { return token && (*token == found.best || *token == found.second); };
  divergence.is_tie = among_best(divergence.a) && among_best(divergence.b) && found.margin <= found.noise;
}

}  // namespace foretell
