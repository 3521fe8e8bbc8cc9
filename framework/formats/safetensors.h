// The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes without gaps.
//
// Contract: a reader that trusts nothing. Every length, type, shape and offset is checked against the file before a
// tensor can be seen; the file must be covered exactly by its tensors, as the format demands, and a truncated file says
// how many bytes are missing. Tensor bytes lie where the file has them, so they may be unaligned. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/mapped_file.h"

namespace foretell::formats {

enum class StoredType { Bool, U8, I8, F8E4M3, F8E5M2, I16, U16, F16, BF16, I32, U32, F32, I64, U64, F64 };

std::string_view name_of(StoredType type);                   // as the format spells it: "F32", "BF16", ...
std::size_t bytes_of(StoredType type);                       // of one element
std::string to_string(std::span<const std::int64_t> shape);  // "[320, 80]"

struct StoredTensor {
  StoredType type = StoredType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);
  // Of bytes that the caller keeps alive; `name` is what an Error calls them.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& name);

  const StoredTensors& tensors() const { return tensors_; }
  const StoredTensor& at(std::string_view tensor) const;  // an Error that lists what is there if it is not

 private:
  std::string name_;
  io::MappedFile file_;
  StoredTensors tensors_;
};

// One view over all shards of a folder's checkpoint: model.safetensors, or the shards that model.safetensors.index.json
// names.
class Checkpoint {
 public:
  static Checkpoint open(const std::filesystem::path& folder);
  // Some of its tensors under other names.
  Checkpoint renamed(const std::map<std::string, std::string>& new_names) &&;

  const StoredTensors& tensors() const { return tensors_; }
  const std::string& file_of(const std::string& tensor) const { return file_of_.at(tensor); }
  const std::string& name() const { return name_; }  // the file that lists the tensors, for messages

 private:
  std::string name_;
  std::vector<SafetensorsFile> files_;
  StoredTensors tensors_;
  std::map<std::string, std::string> file_of_;
};

// The shards that an index names, for each tensor. Shard names must be plain file names. Torch-free and file-free, for
// fuzzing.
std::map<std::string, std::string> parse_shard_index(std::string_view json, const std::string& name);

struct NewTensor {
  std::string name;
  StoredType type = StoredType::F32;
  std::vector<std::int64_t> shape;
  std::function<void(std::span<std::byte>)> fill;  // called once, writes all of the tensor's bytes
};

// Tensors are written in the given order, one in memory at a time, and the file appears only when it is complete.
void write_safetensors(const std::filesystem::path& path, std::span<const NewTensor> tensors);
void write_safetensors(const std::filesystem::path& path, const StoredTensors& tensors);

}  // namespace foretell::formats
