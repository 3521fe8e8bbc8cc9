#include "framework/io/content_hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <new>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/input_file.h"

namespace foretell::io {
namespace {

constexpr std::string_view kPrefix = "xxh3:";
constexpr std::uint64_t kOffset = 0xcbf29ce484222325ULL;
constexpr std::uint64_t kPrime = 0x100000001b3ULL;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * kPrime; }
std::string hex(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

// Calls f with the file's bytes, a piece at a time; each but the last one has a multiple of 8.
template <class F>
void for_each_piece(const std::filesystem::path& file, const F& f) {
  std::ifstream in = open_input(file);
  std::vector<char> buffer(1 << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    f(std::string_view(buffer.data(), static_cast<std::size_t>(in.gcount())));
  }
  if (in.bad()) fail("{}: cannot be read to its end", file.string());
}

std::string hash_of_content(const std::filesystem::path& file) {
  Checksum sum;
  for_each_piece(file, [&](std::string_view piece) { sum.add(piece); });
  return sum.text();
}

// As manifests of before have it: FNV-1a over words of 8 bytes, in which two flipped top bits cancel.
std::string old_hash_of_content(const std::filesystem::path& file) {
  std::uint64_t hash = kOffset, length = 0;
  for_each_piece(file, [&](std::string_view piece) {
    length += piece.size();
    for (std::size_t i = 0; i < piece.size(); i += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, piece.data() + i, std::min<std::size_t>(8, piece.size() - i));
      hash = mix(hash, word);
    }
  });
  return hex(mix(hash, length));
}

using FileHash = std::string (*)(const std::filesystem::path&);

std::vector<std::pair<std::string, std::string>> hashes_of(const std::filesystem::path& folder, FileHash hash) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".json" || extension == ".model" || extension == ".bin" ||
        extension == ".jinja")
      paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::pair<std::string, std::string>> hashes;
  hashes.reserve(paths.size());
  for (const auto& path : paths) hashes.emplace_back(path.filename().string(), hash(path));
  return hashes;
}

std::string list_of(const std::filesystem::path& folder, FileHash hash) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) fail("{}: is not a folder", folder.string());
  std::string all;
  for (const auto& [name, value] : hashes_of(folder, hash)) all.append(name).append(":").append(value).append("\n");
  return all;
}

}  // namespace

Checksum::Checksum() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}

void Checksum::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

void Checksum::add(std::string_view bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }

std::string Checksum::text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return fmt::format("{}{:016x}{:016x}", kPrefix, hash.high64, hash.low64);
}

std::string content_hash(std::string_view bytes) {
  std::uint64_t hash = kOffset;
  for (const char c : bytes) hash = mix(hash, static_cast<unsigned char>(c));
  return hex(hash);
}

std::string file_hash(const std::filesystem::path& file) {
  // The cells of a study share their models: a file that has neither grown nor been touched is read once.
  struct Known {
    std::uintmax_t size;
    std::filesystem::file_time_type time;
    std::string hash;
  };
  static std::map<std::filesystem::path, Known> cache;
  std::error_code failed;
  const auto size = std::filesystem::file_size(file, failed);
  const auto time = failed ? std::filesystem::file_time_type{} : std::filesystem::last_write_time(file, failed);
  if (failed) return hash_of_content(file);
  const auto known = cache.find(file);
  if (known != cache.end() && known->second.size == size && known->second.time == time) return known->second.hash;
  return (cache[file] = {size, time, hash_of_content(file)}).hash;
}

std::vector<std::pair<std::string, std::string>> model_file_hashes(const std::filesystem::path& folder) {
  return hashes_of(folder, file_hash);
}

std::string folder_hash(const std::filesystem::path& folder) {
  Checksum sum;
  sum.add(list_of(folder, file_hash));
  return sum.text();
}

bool is_old_hash(std::string_view recorded) { return !recorded.empty() && !recorded.starts_with(kPrefix); }

bool is_file_hash(std::string_view recorded, const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return false;
  return recorded == (is_old_hash(recorded) ? old_hash_of_content(file) : file_hash(file));
}

bool is_folder_hash(std::string_view recorded, const std::filesystem::path& folder) {
  return recorded == (is_old_hash(recorded) ? content_hash(list_of(folder, old_hash_of_content)) : folder_hash(folder));
}

std::string digits_of(const std::string& hash) { return hash.substr(hash.find(':') + 1); }

}  // namespace foretell::io
