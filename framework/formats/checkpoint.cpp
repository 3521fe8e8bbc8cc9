#include <nlohmann/json.hpp>
#include <set>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/other_kinds.h"
#include "framework/formats/safetensors.h"
#include "framework/io/json.h"

namespace foretell::formats {
namespace {

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

[[noreturn]] void refuse_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) fail("{}: no such folder", folder.string());
  if (!std::filesystem::is_directory(folder, error)) fail("{}: is not a folder", folder.string());
  refuse_missing_weights(folder);
}

// An interrupted download leaves the index and some of its files.
void check_shards(const std::filesystem::path& folder, const std::string& name,
                  const std::map<std::string, std::string>& shard_of) {
  std::set<std::string> shards, missing;
  std::error_code error;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards)
    if (!std::filesystem::exists(folder / shard, error)) missing.insert(shard);
  if (missing.empty()) return;
  fail("{}: names {}, missing: {}{}; is the download complete?", name, counted(shards.size(), "file"),
       io::shown(*missing.begin()), missing.size() > 1 ? fmt::format(" and {} more", missing.size() - 1) : "");
}

}  // namespace

std::map<std::string, std::string> parse_shard_index(std::string_view text, const std::string& name) {
  const nlohmann::json document =
      io::parse_json(text, name, {.bytes = std::size_t{64} << 20, .depth = 8, .unique_keys = true});
  const nlohmann::json* map = io::JsonObject(document, name).find("weight_map");
  if (map == nullptr || !map->is_object() || map->empty())
    fail("{}: 'weight_map' must be an object that names each tensor's file", name);
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get<std::string>())) {
      fail("{}: the file of tensor '{}' is {}, the plain name of a file in the same folder is expected", name,
           io::shown(tensor), io::shown(shard));
    }
    shard_of[tensor] = shard.get<std::string>();
  }
  return shard_of;
}

Checkpoint Checkpoint::open(const std::filesystem::path& folder) {
  Checkpoint checkpoint;
  std::error_code error;
  if (std::filesystem::exists(folder / kWhole, error)) {
    checkpoint.name_ = (folder / kWhole).string();
    checkpoint.files_.push_back(SafetensorsFile::open(folder / kWhole));
    checkpoint.tensors_ = checkpoint.files_[0].tensors();
    for (const auto& [tensor, value] : checkpoint.tensors_) checkpoint.file_of_[tensor] = checkpoint.name_;
    return checkpoint;
  }
  if (!std::filesystem::exists(folder / kIndex, error)) refuse_folder(folder);

  checkpoint.name_ = (folder / kIndex).string();
  const auto shard_of = parse_shard_index(io::MappedFile::open(folder / kIndex).text(), checkpoint.name_);
  check_shards(folder, checkpoint.name_, shard_of);
  std::map<std::string, std::size_t> opened;
  for (const auto& [tensor, shard] : shard_of) {
    const std::string path = (folder / shard).string();
    const auto [it, is_new] = opened.try_emplace(shard, checkpoint.files_.size());
    if (is_new) checkpoint.files_.push_back(SafetensorsFile::open(path));
    const StoredTensors& in_shard = checkpoint.files_[it->second].tensors();
    const auto found = in_shard.find(tensor);
    if (found == in_shard.end())
      fail("{}: says that tensor '{}' is in {}, which does not hold it", checkpoint.name_, tensor, path);
    checkpoint.tensors_[tensor] = found->second;
    checkpoint.file_of_[tensor] = path;
  }
  return checkpoint;
}

Checkpoint Checkpoint::renamed(const std::map<std::string, std::string>& new_names) && {
  Checkpoint out;
  out.name_ = std::move(name_);
  for (const auto& [name, renamed] : new_names) {
    out.tensors_[renamed] = tensors_.find(name)->second;
    out.file_of_[renamed] = file_of_.at(name);
  }
  out.files_ = std::move(files_);  // maps stay where they are
  return out;
}

}  // namespace foretell::formats
