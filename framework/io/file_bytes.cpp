#include "framework/io/file_bytes.h"

#include <fstream>
#include <sstream>
#include <system_error>

#include "framework/core/error.h"
#include "framework/core/input_file.h"
#include "framework/core/text.h"

namespace foretell::io {

std::string read_file_bytes(const std::filesystem::path& path) {
  std::ifstream file = open_input(path);
  std::error_code code;
  constexpr std::uintmax_t limit = std::uintmax_t{1} << 30;
  const std::uintmax_t size = std::filesystem::file_size(path, code);
  if (!code && size > limit)
    fail("{}: {}; a file of at most {} bytes was expected", path.string(), counted(size, "byte"), limit);
  std::ostringstream content;
  content << file.rdbuf();  // also of what tells no size, as below /proc
  if (file.bad()) fail("{}: cannot be read to its end", path.string());
  return std::move(content).str();
}

}  // namespace foretell::io
