// A corpus of tokens in which places are found by what stands there: the datastore that retrieval drafters read.
//
// The file: the 8 bytes "foredata"; uint32 version (1), uint32 vocabulary, uint64 number of tokens n; n int32 tokens; n
// int32 positions, the suffix array of the tokens. All little-endian. The token `vocab` stands between documents, so
// that nothing is found across their borders. Contract: an immutable value; copies share it. Opening a file checks
// everything that the header promises, the order of the suffix array included (O(n) time, 4 n bytes while it lasts), so
// nothing that is read later can be out of range. An opened file is mapped: 8 n bytes that the system may drop and read
// again; a built one holds the same in memory.
#pragma once

#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "framework/core/types.h"

namespace foretell::datasets {

class Datastore {
 public:
  static Datastore open(const std::filesystem::path& file);
  // Of bytes that the caller keeps alive; `name` is what an Error calls them.
  static Datastore parse(std::span<const std::byte> bytes, const std::string& name);
  // Sorts the suffixes: O(n log n) time. `tokens` are in [0, vocab]. An Error if there are none or more than fit into a
  // suffix array.
  static Datastore build(int vocab, TokenSpan tokens);
  void write(const std::filesystem::path& file) const;

  int vocab() const { return vocab_; }
  Token boundary() const { return vocab_; }  // the token between documents
  std::size_t size() const { return size_; }
  Token token(std::size_t position) const { return number(tokens_, position); }
  // Where the suffix of this rank starts.
  std::size_t suffix(std::size_t rank) const { return static_cast<std::size_t>(number(suffixes_, rank)); }

  struct Ranks {
    std::size_t first = 0, last = 0;  // [first, last)
    std::size_t count() const { return last - first; }
  };
  // The suffixes that start with `pattern`.
  Ranks find(TokenSpan pattern) const;

 private:
  // The numbers lie where the file has them, which need not be aligned.
  static std::int32_t number(const std::byte* numbers, std::size_t at) {
    std::int32_t value;
    std::memcpy(&value, numbers + at * sizeof(value), sizeof(value));
    return value;
  }
  int compare(std::size_t position, TokenSpan pattern) const;

  std::shared_ptr<const void> owner_ = {};  // of the bytes below; none where the caller keeps them
  const std::byte* tokens_ = nullptr;
  const std::byte* suffixes_ = nullptr;
  std::size_t size_ = 0;
  int vocab_ = 0;
};

}  // namespace foretell::datasets
