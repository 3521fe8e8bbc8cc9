// The suffix array of tokens, by a library that sorts the suffixes of bytes (libdivsufsort).
//
// Tokens become bytes of one fixed width, the highest first, so that bytes compare as tokens do; of the byte suffixes
// those that start at a token are kept, and their order is that of the token suffixes. A file of its own, because
// whoever only reads a datastore need not link the library.
#include <divsufsort.h>

#include <limits>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/datasets/datastore.h"

namespace foretell::datasets {
namespace {

std::vector<std::int32_t> sorted_suffixes(TokenSpan tokens, int width) {
  std::vector<unsigned char> bytes;
  bytes.reserve(tokens.size() * static_cast<std::size_t>(width));
  for (const Token token : tokens)
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8)
      bytes.push_back(static_cast<unsigned char>(token >> shift));
  std::vector<std::int32_t> order(bytes.size());
  if (divsufsort(bytes.data(), order.data(), static_cast<std::int32_t>(bytes.size())) != 0)
    fail("the suffixes of {} cannot be sorted: not enough memory", counted(tokens.size(), "token"));
  std::vector<std::int32_t> suffixes;
  suffixes.reserve(tokens.size());
  for (const std::int32_t start : order)
    if (start % width == 0) suffixes.push_back(start / width);
  return suffixes;
}

}  // namespace

Datastore Datastore::build(int vocab, TokenSpan tokens) {
  int width = 1;
  while (width < 4 && vocab >> (8 * width) != 0) ++width;
  const auto most = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() / width);
  if (tokens.empty()) fail("a datastore needs at least one token");
  if (tokens.size() > most)
    fail("{} are too many for one datastore: at most {} of this vocabulary", counted(tokens.size(), "token"), most);
  for (const Token token : tokens)
    FORETELL_CHECK(token >= 0 && token <= vocab, "token {} in a vocabulary of {}", token, vocab);

  auto numbers = std::make_shared<std::vector<std::int32_t>>(tokens.begin(), tokens.end());
  const std::vector<std::int32_t> suffixes = sorted_suffixes(tokens, width);
  numbers->insert(numbers->end(), suffixes.begin(), suffixes.end());
  Datastore store;
  store.tokens_ = reinterpret_cast<const std::byte*>(numbers->data());
  store.suffixes_ = store.tokens_ + tokens.size() * sizeof(Token);
  store.size_ = tokens.size();
  store.vocab_ = vocab;
  store.owner_ = std::move(numbers);
  return store;
}

}  // namespace foretell::datasets
