// A file mapped into memory for reading.
//
// Contract: owns the mapping; bytes() stays valid while any copy lives (copies share it). A missing or unreadable file,
// a folder or an empty file is an Error. A file that another program shortens while it is mapped is beyond what can be
// caught.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace foretell::io {

class MappedFile {
 public:
  static MappedFile open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
};

}  // namespace foretell::io
