// Stop strings with the bundled tokenizer, whose tokens end anywhere.
#include "experiments/util/stops.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

// The number of tokens after which the text holds one of the strings, straight from the definition; 0 if it never does.
std::size_t first_stop(const std::shared_ptr<const Tokenizer>& tokenizer, const Tokens& prompt, const Tokens& answer,
                       const std::vector<std::string>& stops) {
  for (std::size_t n = 1; n <= answer.size(); ++n) {
    const std::string text = decode_continuation(tokenizer, prompt, TokenSpan(answer).first(n));
    for (const std::string& stop : stops)
      if (text.find(stop) != std::string::npos) return n;
  }
  return 0;
}

}  // namespace

TEST_CASE("a stop string is found wherever its tokens end") {
  const auto tokenizer = load_tokenizer("models/tokenizer");
  const Tokens prompt = tokenizer->encode("Tell me about it:");
  const std::string text = " The quick brown fox, seen twice: 17 times.\n\nUser: and then?\nIt went on (of course).";
  const Tokens answer = tokenizer->encode(text);
  int spanning = 0, found = 0;
  // Every piece of the text is a stop string once, whatever its tokens are.
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    for (const std::size_t length : {1, 2, 5, 9}) {
      if (begin + length > text.size()) continue;
      const std::vector<std::string> stops{"never there", text.substr(begin, length)};
      const std::size_t expected = first_stop(tokenizer, prompt, answer, stops);
      const auto watcher = watch_stop_strings(tokenizer, prompt, stops);
      std::size_t stopped = 0;
      for (std::size_t n = 1; n <= answer.size() && stopped == 0; ++n)
        if (watcher->push(answer[n - 1])) stopped = n;
      if (stopped != expected)
        FAIL_CHECK("'" << stops[1] << "' at " << begin << ": after " << stopped << " tokens, expected " << expected);
      ++found;
      const auto of_one_token = [&](Token token) {
        return tokenizer->decode(Tokens{token}).find(stops[1]) != std::string::npos;
      };
      spanning += std::none_of(answer.begin(), answer.end(), of_one_token);
    }
  }
  CHECK(found > 200);
  CHECK(spanning > 100);  // strings that no token holds by itself
}

TEST_CASE("a stop string that began in the prompt does not end the answer") {
  const auto tokenizer = load_tokenizer("models/tokenizer");
  const Tokens prompt = tokenizer->encode("one two");
  const auto watcher = watch_stop_strings(tokenizer, prompt, {"two three"});
  bool stopped = false;
  for (const Token token : tokenizer->encode(" three four")) stopped |= watcher->push(token);
  CHECK_FALSE(stopped);
}

TEST_CASE("text is cut at the first of its stop strings") {
  CHECK(cut_at_stop_string("a b c d", {"c", "b c"}) == "a ");
  CHECK(cut_at_stop_string("a b", {"x"}) == "a b");
}
