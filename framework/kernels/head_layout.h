/// How a fused query-key-value matrix is divided into heads.
#pragma once

#include <cstdint>

namespace foretell::kernels {

// How the columns of a fused query-key-value matrix are divided; `windowed`: what rows of the layer attend to.
struct HeadLayout {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;          // of queries and keys
  bool interleaved = false;  // rotary pairs are neighbours, else one from each half of the rotated part
  int other_value_dim = 0;   // of values, if not head_dim
  int rotary_first = 0;      // of a head's elements the first that is rotated
  bool windowed = false;     // rows see what is in their window

  int value_dim() const { return other_value_dim > 0 ? other_value_dim : head_dim; }
  std::int64_t width() const {
    return std::int64_t{heads + kv_heads} * head_dim + std::int64_t{kv_heads} * value_dim();
  }
};

}  // namespace foretell::kernels
