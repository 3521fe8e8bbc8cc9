// How much longer a tokenizer's file may make a text.
//
// Contract: a file may name steps that multiply the text one after the other. Real ones stay below 20 times (a ligature
// under NFKD, each byte of it then written as a character), so what exceeds kMaxGrowth times the text and kMaxAdded
// bytes is an Error that names the file; no step builds more than that before it is found.
#pragma once

#include <cstddef>
#include <string>

#include "framework/core/error.h"

namespace foretell::tokenizers::stages {

inline constexpr std::size_t kMaxGrowth = 100;
inline constexpr std::size_t kMaxAdded = std::size_t{64} << 10;

class GrowthLimit {
 public:
  explicit GrowthLimit(std::size_t text_bytes) : text_bytes_(text_bytes) {}

  void check(std::size_t bytes, const Location& where) const {
    if (bytes > kMaxGrowth * text_bytes_ + kMaxAdded)
      fail_at(where, "makes {} bytes of a text of {}; at most {} times as much and {} bytes are taken", bytes,
              text_bytes_, kMaxGrowth, kMaxAdded);
  }

 private:
  std::size_t text_bytes_;
};

}  // namespace foretell::tokenizers::stages
