// What llama2.c's checkpoints and the formats made after them share.
//
// Contract: read_llama2c_layout() checks every number of a header before anything is computed with it; products of two
// of them fit 64 bits. The file's size is the caller's to check. llama2.c rotates adjacent pairs of a head's elements,
// Hugging Face its first half with its second: split_pairs() permutes the rows of query and key matrices so that both
// give the same scores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/formats/model_config.h"

namespace foretell::formats {

struct Llama2cHeader {
  std::int32_t dim, hidden_dim, layers, heads, kv_heads, vocab, context;
};

struct Llama2cLayout {
  Llama2cHeader header{};
  bool is_v1 = false;
  bool tied = true;
  std::size_t offset = 0;  // where the weights start

  std::int64_t key_width() const { return std::int64_t{header.dim} / header.heads * header.kv_heads; }
};

// `name` is what an Error calls the bytes.
Llama2cLayout read_llama2c_layout(std::span<const std::byte> bytes, const std::string& name);

// An Error unless the file has exactly the `expected` bytes that its header asks for.
void check_llama2c_size(std::span<const std::byte> bytes, unsigned __int128 expected, const Llama2cLayout& layout,
                        const std::string& name);

ModelConfig llama2c_config(const Llama2cLayout& layout);

// Rows of each head from adjacent pairs (0, 1), (2, 3), ... to pairs of the two halves (0, d/2), (1, d/2 + 1), ...
template <class T>
std::vector<T> split_pairs(const std::vector<T>& rows, std::int64_t head_dim, std::int64_t columns) {
  std::vector<T> result(rows.size());
  const std::int64_t count = static_cast<std::int64_t>(rows.size()) / columns;
  for (std::int64_t row = 0; row < count; ++row) {
    const std::int64_t head = row / head_dim * head_dim;
    const std::int64_t within = row % head_dim;
    const std::int64_t target = head + within / 2 + (within % 2) * (head_dim / 2);
    std::copy_n(rows.begin() + row * columns, columns, result.begin() + target * columns);
  }
  return result;
}

}  // namespace foretell::formats
