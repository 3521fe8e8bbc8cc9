// Names for content: equal content has equal names, on every machine.
//
// Contract: 64 bits as 16 hexadecimal digits. Not a defence against somebody who wants a collision.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foretell {

// FNV-1a (Fowler, Noll, Vo) over the bytes.
std::string content_hash(std::string_view bytes);

// FNV-1a over little-endian words of 8 bytes (the last one padded with zeros), then over the length: as fast as the disk.
std::string file_hash(const std::filesystem::path& file);

// What a model's folder holds (weights, config, tokenizer): file name and hash, sorted by name.
std::vector<std::pair<std::string, std::string>> model_file_hashes(const std::filesystem::path& folder);
std::string folder_hash(const std::filesystem::path& folder);  // of all of them

}  // namespace foretell
