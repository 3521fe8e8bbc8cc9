// Names for content: equal content has equal names, on every machine.
//
// Contract: content_hash() is 64 bits as 16 hexadecimal digits and names cells' folders. Whether bytes have changed is
// asked of Checksum, file_hash() and folder_hash(): XXH3 with 128 bits, "xxh3:" and 32 digits. Manifests of before have
// 16 digits without a prefix, of a hash that missed pairs of changed signs; the is_...() functions know both. None is a
// defence against somebody who wants a collision.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct XXH3_state_s;

namespace foretell::io {

// FNV-1a (Fowler, Noll, Vo) over the bytes.
std::string content_hash(std::string_view bytes);

class Checksum {
 public:
  Checksum();
  void add(std::string_view bytes);
  std::string text() const;  // of what was added so far

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

std::string file_hash(const std::filesystem::path& file);
// What a model's folder holds (weights, config, tokenizer): file name and hash, sorted by name.
std::vector<std::pair<std::string, std::string>> model_file_hashes(const std::filesystem::path& folder);
std::string folder_hash(const std::filesystem::path& folder);  // of all of them

// Whether a recorded hash, new or old, is that of what is there now.
bool is_file_hash(std::string_view recorded, const std::filesystem::path& file);
bool is_folder_hash(std::string_view recorded, const std::filesystem::path& folder);
bool is_old_hash(std::string_view recorded);

// The digits alone, as part of a file's name.
std::string digits_of(const std::string& hash);

}  // namespace foretell::io
