// A file that appears under its name only when it is complete.
//
// Contract: bytes go to a temporary file in the same folder; commit() flushes it to the disk, renames it and flushes
// the folder. Without commit() nothing is left behind and an older file of that name stays as it was. Whatever goes
// wrong (no folder, no right, disk full) is an Error with the file's name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace foretell::io {

class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void commit();

 private:
  [[noreturn]] void refuse(const char* action) const;

  std::filesystem::path path_;
  std::string temporary_;
  int descriptor_ = -1;
};

// A whole file at once.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

// Makes the folder (and those above it) if it is not there; an Error if that cannot be done.
void make_folder(const std::filesystem::path& folder);

}  // namespace foretell::io
