#include "experiments/content_hash.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "framework/base/error.h"

namespace foretell {
namespace {

constexpr std::uint64_t kOffset = 0xcbf29ce484222325ULL;
constexpr std::uint64_t kPrime = 0x100000001b3ULL;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * kPrime; }
std::string hex(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

std::string hash_of_content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail("{}: cannot be opened", file.string());
  std::vector<char> buffer(1 << 20);
  std::uint64_t hash = kOffset, length = 0;
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto count = static_cast<std::size_t>(in.gcount());
    length += count;
    for (std::size_t i = 0; i < count; i += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, buffer.data() + i, std::min<std::size_t>(8, count - i));
      hash = mix(hash, word);
    }
  }
  return hex(mix(hash, length));
}

}  // namespace

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
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".json" || extension == ".model" || extension == ".bin") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::pair<std::string, std::string>> hashes;
  hashes.reserve(paths.size());
  for (const auto& path : paths) hashes.emplace_back(path.filename().string(), file_hash(path));
  return hashes;
}

std::string folder_hash(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) fail("{}: is not a folder", folder.string());
  std::string all;
  for (const auto& [name, hash] : model_file_hashes(folder)) all.append(name).append(":").append(hash).append("\n");
  return content_hash(all);
}

}  // namespace foretell
