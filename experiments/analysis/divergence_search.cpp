#include "experiments/analysis/divergence_search.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "experiments/util/interrupt.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::analysis {
namespace {

constexpr std::array<std::size_t, 3> kRowsTogether = {2, 5, 9};  // rows of one forward that the last row is read with
constexpr std::size_t kRowsRead = 128;  // of one forward of near_ties(): their logits are held at once
constexpr double kSpread =
    4;  // the draft's other rows are not the text's: their noise may be larger than what was seen

// The logits behind `text`, whose last `together` tokens go through the target in one forward.
std::vector<float> last_row(const model::LanguageModel& target, TokenSpan text, std::size_t together) {
  const auto cache = target.make_cache(static_cast<int>(text.size()));
  const std::size_t before = text.size() - std::min(together, text.size());
  if (before > 0)
    target.forward(model::ForwardItem{text.first(before), model::ChainShape{}, cache.get(), model::LogitRows::None});
  const at::Tensor logits =
      target.forward(model::ForwardItem{text.subspan(before), model::ChainShape{}, cache.get(), model::LogitRows::Last})
          .logits.to(at::kCPU)
          .contiguous();
  return {logits.const_data_ptr<float>(), logits.const_data_ptr<float>() + logits.numel()};
}

std::optional<Token> token_at(const Tokens& tokens, std::size_t at) {
  return at < tokens.size() ? std::optional(tokens[at]) : std::nullopt;
}

std::string token_words(const std::optional<Token>& token, const tokenizers::Tokenizer* tokenizer) {
  if (!token) return "the end";
  return tokenizer ? fmt::format("{} '{}'", *token, printable(tokenizer->decode(Tokens{*token})))
                   : std::to_string(*token);
}

std::string words_of(const Divergence& d, const DivergenceSource& source) {
  std::string where = "prompt " + d.conversation;
  if (d.turn > 0) where += fmt::format(", turn {},", d.turn + 1);
  if (d.repeat > 0) where += fmt::format(", repeat {},", d.repeat + 1);
  const std::string what = fmt::format("{} differs at token {}: {} and {}", where, d.position,
                                       token_words(d.a, source.tokenizer), token_words(d.b, source.tokenizer));
  const std::string epsilon = fmt::format("{:.2g}, the epsilon of {} there", d.noise, source.precision.dtype);
  if (d.is_tie) return fmt::format("{}; their logits are {:.2g} apart, within {}: a tie", what, d.gap, epsilon);
  return fmt::format(
      "{}; NOT a tie: logits {:.2g} below the target's best, above {}: NOT explained by noise, a fault; please report "
      "it",
      what, d.gap, epsilon);
}

}  // namespace

Precision Precision::of(const std::string& dtype) {
  if (dtype == "bf16" || dtype == "bfloat16") return {4e-3, "bf16"};
  if (dtype == "f16" || dtype == "float16") return {5e-4, "f16"};
  if (dtype == "f64" || dtype == "float64") return {1e-14, "f64"};
  return {1e-6, "f32"};
}

Margin measure_margin(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
                      const Precision& precision) {
  Tokens all(text.prompt.begin(), text.prompt.end());
  all.insert(all.end(), text.answer.begin(), text.answer.end());
  FORETELL_CHECK(!all.empty(), "{} tokens before the difference", all.size());
  const auto adjusted = [&](std::vector<float> row) {
    sampler.adjust(row, {text.prompt, text.answer, {}});
    return row;
  };
  const std::vector<float> raw = last_row(target, all, 1);
  std::vector<float> alone = adjusted(raw);
  const std::vector<Token> best = highest(alone, 2);
  if (best.size() < 2) fail("the target has {} token with a finite logit there: nothing to compare", best.size());
  double moved = 0;
  for (const std::size_t rows : kRowsTogether) {
    const std::vector<float> joint = adjusted(last_row(target, all, rows));
    for (const Token token : best) moved = std::max(moved, static_cast<double>(std::abs(joint[token] - alone[token])));
  }
  const double rounding = precision.rounding * std::max(std::abs(raw[best[0]]), std::abs(alone[best[0]]));
  const double margin = static_cast<double>(alone[best[0]]) - alone[best[1]];
  return {best[0], best[1], margin, kSpread * std::max(moved, rounding), std::move(alone)};
}

std::vector<NearTie> near_ties(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
                               const Precision& precision) {
  std::vector<NearTie> ties;
  const auto cache = target.make_cache(static_cast<int>(text.prompt.size() + text.answer.size()));
  const auto read = [&](TokenSpan tokens, model::LogitRows rows) {
    return target.forward(model::ForwardItem{tokens, model::ChainShape{}, cache.get(), rows}).logits;
  };
  for (TokenSpan left = text.prompt.first(text.prompt.size() - 1); !left.empty();
       left = left.subspan(std::min(kRowsRead, left.size())))
    read(left.first(std::min(kRowsRead, left.size())), model::LogitRows::None);
  // The row of the prompt's last token decides the answer's first one.
  Tokens rows = {text.prompt.back()};
  if (!text.answer.empty()) rows.insert(rows.end(), text.answer.begin(), text.answer.end() - 1);
  for (std::size_t at = 0; at < rows.size(); at += kRowsRead) {
    const TokenSpan chunk = TokenSpan(rows).subspan(at, std::min(kRowsRead, rows.size() - at));
    const at::Tensor logits = read(chunk, model::LogitRows::All).to(at::kCPU).contiguous();
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

void judge(const model::LanguageModel& target, const TextBefore& text, const Sampler& sampler,
           const Precision& precision, Divergence& divergence) {
  const Margin found = measure_margin(target, text, sampler, precision);
  divergence.best = found.best;
  divergence.second = found.second;
  divergence.margin = found.margin;
  divergence.gap = found.margin;
  divergence.noise = found.noise;
  divergence.is_tie = false;
  if (!divergence.a || !divergence.b) return;
  const auto below_best = [&](Token token) {  // the answers come from files: a token need not be one of the vocabulary
    const bool known = token >= 0 && token < static_cast<Token>(found.logits.size());
    return known ? static_cast<double>(found.logits[found.best]) - found.logits[token]
                 : std::numeric_limits<double>::infinity();
  };
  divergence.gap = std::max(below_best(*divergence.a), below_best(*divergence.b));
  divergence.is_tie = divergence.gap <= found.noise;
}

AnswersByPlace answers_by_place(std::span<const results::GenerationRecord> records, results::PipelineVariant arm,
                                std::optional<int> repeats) {
  AnswersByPlace out;
  for (const results::GenerationRecord& record : records)
    if (record.arm == arm && record.repeat < repeats.value_or(record.repeat + 1))
      out[{record.conversation, record.turn, record.repeat}] = &record;
  return out;
}

Divergences find_divergences(const AnswersByPlace& a, const AnswersByPlace& b, const DivergenceSource& source) {
  Divergences out{.dtype = source.precision.dtype};
  const Sampler sampler(source.sampling, source.target.config().vocab_size);
  for (const auto& [place, left] : a) {
    const auto other = b.find(place);
    if (other == b.end()) continue;
    if (util::interrupted()) {
      out.whole = false;
      break;
    }
    const results::GenerationRecord& right = *other->second;
    if (left->prompt_tokens != right.prompt_tokens) {
      ++out.behind;
      continue;
    }
    ++out.compared;
    if (left->tokens == right.tokens) {
      ++out.same;
      continue;
    }
    const auto at = static_cast<std::size_t>(
        std::mismatch(left->tokens.begin(), left->tokens.end(), right.tokens.begin(), right.tokens.end()).first -
        left->tokens.begin());
    Divergence difference{.conversation = left->conversation,
                          .task = left->task,
                          .turn = left->turn,
                          .repeat = left->repeat,
                          .position = static_cast<int>(at),
                          .a = token_at(left->tokens, at),
                          .b = token_at(right.tokens, at)};
    const Tokens prompt = source.prompt(*left);
    judge(source.target, {prompt, TokenSpan(left->tokens).first(at)}, sampler, source.precision, difference);
    difference.words = words_of(difference, source);
    out.found.push_back(std::move(difference));
    if (source.on_judged) source.on_judged();
  }
  return out;
}

}  // namespace foretell::analysis
