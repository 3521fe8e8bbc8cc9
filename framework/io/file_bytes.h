// Whole files into memory.
#pragma once

#include <filesystem>
#include <string>

namespace foretell::io {

// Error if the file cannot be read or is larger than 1 GiB, which no text file of ours is.
std::string read_file_bytes(const std::filesystem::path& path);

}  // namespace foretell::io
