#include "framework/core/input_file.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include "framework/core/error.h"

namespace foretell {

void check_regular_file(const std::filesystem::path& path) {
  std::error_code code;
  const std::filesystem::file_status status = std::filesystem::status(path, code);
  switch (status.type()) {
    case std::filesystem::file_type::regular: return;
    case std::filesystem::file_type::not_found: fail("{}: cannot be opened: no such file", path.string());
    case std::filesystem::file_type::none: fail("{}: cannot be opened: {}", path.string(), code.message());
    case std::filesystem::file_type::directory: fail("{}: is a folder; expected a file", path.string());
    default: fail("{}: is not a regular file but a pipe or a device", path.string());
  }
}

std::ifstream open_input(const std::filesystem::path& path) {
  check_regular_file(path);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("{}: cannot be opened: {}", path.string(), std::strerror(errno));
  return in;
}

}  // namespace foretell
