#include "framework/text/file_bytes.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>

#include "framework/base/error.h"

namespace foretell {

std::string read_file_bytes(const std::filesystem::path& path) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) fail("{}: is a folder; expected a file", path.string());
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("{}: cannot be read: {}", path.string(), std::strerror(errno));
  constexpr std::uintmax_t limit = std::uintmax_t{1} << 30;
  const std::uintmax_t size = std::filesystem::file_size(path, code);
  if (!code && size > limit) fail("{}: {} bytes; a file of at most {} bytes was expected", path.string(), size, limit);
  std::ostringstream content;
  content << file.rdbuf();  // also of what has no size, such as a pipe
  if (file.bad()) fail("{}: cannot be read to its end", path.string());
  return std::move(content).str();
}

}  // namespace foretell
