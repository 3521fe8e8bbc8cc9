#include "framework/formats/heads/draft_vocabulary.h"

#include <algorithm>
#include <cstring>

#include "framework/core/error.h"

namespace foretell::formats::heads {
namespace {

std::vector<std::int64_t> integers(const StoredTensor& stored, const std::string& name) {
  if (stored.type != StoredType::I64 && stored.type != StoredType::I32)
    fail("{}: 'd2t' is of {}; expected I64 or I32", name, name_of(stored.type));
  const std::size_t width = bytes_of(stored.type);
  std::vector<std::int64_t> out(stored.bytes.size() / width);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::int32_t narrow = 0;
    std::memcpy(width == 4 ? static_cast<void*>(&narrow) : &out[i], &stored.bytes[i * width], width);
    if (width == 4) out[i] = narrow;
  }
  return out;
}

void check_shape(const StoredTensor& stored, const char* tensor, int expected, const std::string& name) {
  if (stored.shape != std::vector<std::int64_t>{expected})
    fail("{}: '{}' is {}, expected [{}]", name, tensor, to_string(stored.shape), expected);
}

void check_flags(const StoredTensor& stored, const std::vector<Token>& ids, int target_vocab, const std::string& name) {
  check_shape(stored, "t2d", target_vocab, name);
  if (bytes_of(stored.type) != 1) fail("{}: 't2d' is of {}; expected BOOL", name, name_of(stored.type));
  std::vector<char> drafted(static_cast<std::size_t>(target_vocab), 0);
  for (const Token id : ids) drafted[static_cast<std::size_t>(id)] = 1;
  for (std::size_t id = 0; id < drafted.size(); ++id)
    if ((stored.bytes[id] != std::byte{0}) != (drafted[id] != 0))
      fail(
          "{}: 't2d' says that the draft {} token {}, 'd2t' says that it {}: 'd2t' holds offsets, target = draft + "
          "d2t[draft]",
          name, stored.bytes[id] != std::byte{0} ? "has" : "lacks", id, drafted[id] != 0 ? "has" : "lacks");
}

}  // namespace

bool is_vocabulary_tensor(std::string_view name) { return name == "d2t" || name == "t2d"; }

std::vector<Token> draft_vocabulary(const StoredTensors& tensors, int draft_vocab, int target_vocab,
                                    const std::string& name) {
  const auto offsets = tensors.find("d2t"), flags = tensors.find("t2d");
  if (draft_vocab > target_vocab)
    fail("{}: the draft's vocabulary is {}, the target's {}", name, draft_vocab, target_vocab);
  if (offsets == tensors.end()) {
    if (draft_vocab == target_vocab) return {};
    fail("{}: tensor 'd2t' is missing: the head has {} of the target's {} tokens, and nothing says which", name,
         draft_vocab, target_vocab);
  }
  check_shape(offsets->second, "d2t", draft_vocab, name);
  std::vector<Token> ids;
  std::vector<int> owner(static_cast<std::size_t>(target_vocab), -1);
  const std::vector<std::int64_t> values = integers(offsets->second, name);
  for (int draft = 0; draft < draft_vocab; ++draft) {
    const std::int64_t offset = values[static_cast<std::size_t>(draft)];
    if (offset < -draft || offset >= target_vocab - draft)
      fail("{}: 'd2t' of {} is {}: token {} + {} is none of the target's {}", name, draft, offset, draft, offset,
           target_vocab);
    const auto id = static_cast<Token>(draft + offset);
    int& of = owner[static_cast<std::size_t>(id)];
    if (of >= 0) fail("{}: 'd2t' makes {} and {} the same token {}", name, of, draft, id);
    of = draft;
    ids.push_back(id);
  }
  if (flags != tensors.end()) check_flags(flags->second, ids, target_vocab, name);
  const bool same = draft_vocab == target_vocab && std::ranges::is_sorted(ids);
  return same ? std::vector<Token>{} : ids;
}

std::vector<NewTensor> vocabulary_tensors(std::span<const Token> target_ids, int target_vocab) {
  const std::vector<Token> ids(target_ids.begin(), target_ids.end());
  const auto offsets = [ids](std::span<std::byte> out) {
    for (std::size_t draft = 0; draft < ids.size(); ++draft) {
      const std::int64_t offset = ids[draft] - static_cast<std::int64_t>(draft);
      std::memcpy(&out[draft * sizeof offset], &offset, sizeof offset);
    }
  };
  const auto flags = [ids](std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{0});
    for (const Token id : ids) out[static_cast<std::size_t>(id)] = std::byte{1};
  };
  return {{"d2t", StoredType::I64, {static_cast<std::int64_t>(ids.size())}, offsets},
          {"t2d", StoredType::Bool, {target_vocab}, flags}};
}

}  // namespace foretell::formats::heads
