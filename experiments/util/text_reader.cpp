#include "experiments/util/text_reader.h"

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"

namespace foretell::util {
namespace {

constexpr std::size_t kChunk = 256;  // rows of one forward

}  // namespace

TextReader::TextReader(const model::LanguageModel& model, TokenSpan tokens)
    : model_(model), tokens_(tokens), cache_(model.make_cache(static_cast<int>(tokens.size()))) {}

std::span<const float> TextReader::row(std::size_t row) {
  FORETELL_CHECK(row >= begin_ && row < tokens_.size(), "row {} of {}", row, tokens_.size());
  while (row >= begin_ + rows_) {
    begin_ += rows_;
    const TokenSpan chunk = tokens_.subspan(begin_, std::min(kChunk, tokens_.size() - begin_));
    rows_ = chunk.size();
    logits_ = model_.forward(model::ForwardItem{chunk, model::ChainShape{}, cache_.get(), model::LogitRows::All})
                  .logits.to(at::kCPU)
                  .contiguous();
  }
  const auto vocab = static_cast<std::size_t>(logits_.size(1));
  return {logits_.const_data_ptr<float>() + (row - begin_) * vocab, vocab};
}

double log_probability(std::span<const float> logits, Token token) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  if (!std::isfinite(sum)) fail("the model's logits have a NaN: its weights are damaged");
  return logits[static_cast<std::size_t>(token)] - top - std::log(sum);
}

}  // namespace foretell::util
