#include "experiments/util/text_stream.h"

#include <algorithm>

#include "experiments/util/stops.h"

namespace foretell::util {

TextStream::TextStream(std::shared_ptr<const tokenizers::Tokenizer> tokenizer, TokenSpan prompt,
                       std::vector<std::string> stop_strings)
    : decoder_(std::move(tokenizer), true), stop_strings_(std::move(stop_strings)) {
  decoder_.prime(prompt);
}

std::string TextStream::push(TokenSpan tokens) {
  for (const Token token : tokens) held_ += decoder_.push(token);
  return release(false);
}

std::string TextStream::finish() {
  held_ += decoder_.finish();
  return release(true);
}

std::string TextStream::release(bool all) {
  if (stopped_) return "";
  std::string cut = cut_at_stop_string(held_, stop_strings_);
  stopped_ = cut.size() < held_.size();
  if (all || stopped_) {
    held_.clear();
    return cut;
  }
  std::size_t kept = 0;  // bytes that may be the beginning of a stop string
  for (const std::string& s : stop_strings_) kept = std::max(kept, s.size() - 1);
  std::size_t shown = held_.size() - std::min(kept, held_.size());
  while (shown > 0 && shown < held_.size() && (static_cast<unsigned char>(held_[shown]) & 0xC0) == 0x80)
    --shown;  // whole characters
  std::string out = held_.substr(0, shown);
  held_.erase(0, shown);
  return out;
}

}  // namespace foretell::util
