// A set of byte strings with a value each, walked from a position of a text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace foretell::tokenizers::stages {

class ByteTrie {
 public:
  // Keys are not empty; of equal keys the first stays.
  void insert(std::string_view key, std::int32_t value) {
    std::uint32_t node = 0;
    starts_[static_cast<unsigned char>(key[0])] = true;
    for (const char byte : key) {
      const auto [edge, added] = edges_.try_emplace(edge_key(node, byte), static_cast<std::uint32_t>(values_.size()));
      node = edge->second;
      if (added) values_.push_back(kNone);
    }
    if (values_[node] == kNone) values_[node] = value;
  }

  // visit(end, value) for every key that starts at `begin`, shortest first.
  template <class Visit>
  void walk(std::string_view text, std::size_t begin, Visit&& visit) const {
    if (begin >= text.size() || !starts_[static_cast<unsigned char>(text[begin])]) return;
    std::uint32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      const auto edge = edges_.find(edge_key(node, text[i]));
      if (edge == edges_.end()) return;
      node = edge->second;
      if (values_[node] != kNone) visit(i + 1, values_[node]);
    }
  }

 private:
  static constexpr std::int32_t kNone = -1;
  static std::uint64_t edge_key(std::uint32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }

  std::array<bool, 256> starts_{};
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<std::int32_t> values_{kNone};  // by node; 0 is the root
};

}  // namespace foretell::tokenizers::stages
