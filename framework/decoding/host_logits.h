// Rows of logits on whatever device they were computed on, read from the host.
//
// Contract: on the CPU a row is a view and nothing is copied. On another device the argmax of all rows comes over in
// one small copy, and the rows themselves come over, all at once, only when one is asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "framework/core/types.h"

namespace foretell::decoding {

// [rows, vocab], float32.
class HostLogits {
 public:
  HostLogits() = default;
  explicit HostLogits(at::Tensor logits);
  int vocab() const { return vocab_; }
  std::span<const float> row(int index);
  Token argmax(int index);  // an Error on NaN or where nothing is finite

 private:
  void fetch_argmax();

  at::Tensor logits_, host_;
  int vocab_ = 0;
  std::vector<Token> argmax_;
  std::vector<float> maximum_;
};

}  // namespace foretell::decoding
