#include "tests/support/data.h"

#include <stdlib.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <system_error>

#include "tests/support/catch.h"

namespace foretell::testing {

std::optional<std::filesystem::path> data_file(std::string_view relative) {
  const char* root = std::getenv("FORETELL_DATA");
  if (root == nullptr || *root == '\0') {
    static std::string last_skipped;  // a test that asks for several files is one skipped test
    const std::string test = Catch::getResultCapture().getCurrentTestName();
    if (test != last_skipped) std::printf("SKIPPED %s: FORETELL_DATA is not set\n", test.c_str());
    last_skipped = test;
    return std::nullopt;
  }
  std::filesystem::path path = std::filesystem::path(root) / relative;
  if (!std::filesystem::exists(path)) FAIL("FORETELL_DATA is set, but " << path << " is not there");
  return path;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) FAIL("cannot read " << path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "foretell-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) FAIL("cannot make a temporary folder " << pattern);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryFolder::write(std::string_view name, std::string_view content) const {
  std::filesystem::path path = path_ / name;
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file.flush()) FAIL("cannot write " << path);
  return path;
}

}  // namespace foretell::testing
