// The files that we are given to read.
//
// Contract: nothing but a regular file is opened (or a link to one). A pipe would wait for a writer that need not come,
// a device need not end and a folder has no bytes; all of them are Errors that name the file. Standard input is read
// by `foretell tokenize --file -` alone. Every reader of the project opens its file with one of these.
#pragma once

#include <filesystem>
#include <fstream>

namespace foretell {

void check_regular_file(const std::filesystem::path& path);

// Open, in binary.
std::ifstream open_input(const std::filesystem::path& path);

}  // namespace foretell
