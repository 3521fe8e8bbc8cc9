// Files of ${FORETELL_DATA}, for tests.
//
// Contract: without FORETELL_DATA a test that needs it prints one line with the word SKIPPED and returns; with it, a
// file that is not there is a failure of the test, never a skip.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace foretell::testing {

// ${FORETELL_DATA}/relative, or nullopt after printing "SKIPPED <test>: FORETELL_DATA is not set", once in a test.
std::optional<std::filesystem::path> data_file(std::string_view relative);

// The whole file; a failure of the test if it cannot be read.
std::string read_file(const std::filesystem::path& path);

// A fresh folder under the system's temporary folder; it and what is in it goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(std::string_view name, std::string_view content) const;  // the path of what was written

 private:
  std::filesystem::path path_;
};

}  // namespace foretell::testing
