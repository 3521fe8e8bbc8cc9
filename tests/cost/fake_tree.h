// A folder of small files that stands in for the kernel's.
#pragma once

#include <filesystem>
#include <string>

#include "tests/support/data.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

class FakeTree {
 public:
  const std::filesystem::path& root() const { return folder_.path(); }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root() / path).parent_path());
    folder_.write(path, text);
  }
  void remove(const std::string& path) const { std::filesystem::remove_all(root() / path); }

 private:
  TemporaryFolder folder_;
};

}  // namespace foretell::testing
