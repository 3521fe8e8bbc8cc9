// A folder of its own below the system's temporary one, which goes away with the object.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "framework/core/error.h"

namespace foretell::util {

class ScratchFolder {
 public:
  // `what` it is for, as a part of its name.
  explicit ScratchFolder(const std::string& what)
      : path_((std::filesystem::temp_directory_path() / ("foretell-" + what + "-XXXXXX")).string()) {
    if (::mkdtemp(path_.data()) == nullptr)
      fail("{}: no temporary folder can be made: {}", path_, std::strerror(errno));
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace foretell::util
