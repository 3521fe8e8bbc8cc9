#include "experiments/util/stops.h"

#include <algorithm>

namespace foretell::util {
namespace {

class StringWatcher final : public StopWatcher {
 public:
  StringWatcher(std::shared_ptr<const tokenizers::Tokenizer> tokenizer, TokenSpan prompt,
                std::vector<std::string> strings)
      : decoder_(std::move(tokenizer), true), strings_(std::move(strings)) {
    decoder_.prime(prompt);
    for (const std::string& s : strings_) longest_ = std::max(longest_, s.size());
  }

  bool push(Token token) override {
    tail_ += decoder_.push(token);
    const bool found = std::any_of(strings_.begin(), strings_.end(),
                                   [&](const std::string& s) { return tail_.find(s) != std::string::npos; });
    if (tail_.size() > longest_)
      tail_.erase(0, tail_.size() - longest_);  // a string may still be beginning in what is kept
    return found;
  }

 private:
  tokenizers::StreamDecoder decoder_;
  std::vector<std::string> strings_;
  std::size_t longest_ = 0;
  std::string tail_;
};

}  // namespace

std::vector<Token> stop_tokens_of(const model::LanguageModel& model, const tokenizers::Tokenizer* tokenizer) {
  if (!model.config().eos.empty() || !tokenizer) return model.config().eos;
  return tokenizer->eos();
}

void add_template_stops(const tokenizers::Tokenizer& tokenizer, const chat::ChatTemplate& chat, bool ignore_eos,
                        std::vector<Token>& stop_tokens) {
  if (ignore_eos) return;
  for (const std::string& stop : chat.stop_strings())
    if (const auto id = tokenizer.token_to_id(stop);
        id && std::find(stop_tokens.begin(), stop_tokens.end(), *id) == stop_tokens.end())
      stop_tokens.push_back(*id);
}

std::shared_ptr<StopWatcher> watch_stop_strings(std::shared_ptr<const tokenizers::Tokenizer> tokenizer,
                                                TokenSpan prompt, std::vector<std::string> strings) {
  return std::make_shared<StringWatcher>(std::move(tokenizer), prompt, std::move(strings));
}

std::string cut_at_stop_string(const std::string& text, const std::vector<std::string>& strings) {
  std::size_t end = text.size();
  for (const std::string& s : strings) end = std::min(end, text.find(s));
  return text.substr(0, end);
}

}  // namespace foretell::util
