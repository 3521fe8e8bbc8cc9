// Paths in studies.
//
// Contract: "${NAME}" is the environment variable NAME; one that is not set is an Error with the variable's name and
// the place. A relative path is looked for in the current folder first, then in the folder of the study; what exists in
// neither is an Error that says where it was looked for.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "framework/core/config_value.h"

namespace foretell::util {

std::string expand_environment(const std::string& text, const Location& where);
// All scalars of a value.
ConfigValue expand_environment(const ConfigValue& value);

std::filesystem::path resolve_path(const std::string& text, const Location& where,
                                   const std::filesystem::path& study_folder);
std::filesystem::path resolve_path(const ConfigValue& value, std::string_view key,
                                   const std::filesystem::path& study_folder);

// Remembers the files that resolve_path() gives on this thread while it lives: what a cell's numbers depend on besides
// its settings.
class InputFiles {
 public:
  InputFiles();
  ~InputFiles();
  InputFiles(const InputFiles&) = delete;
  InputFiles& operator=(const InputFiles&) = delete;

  std::map<std::string, std::string> hashes() const;  // path -> hash of the content; folders are left out

 private:
  std::set<std::filesystem::path> files_;
  std::set<std::filesystem::path>* outer_;
};

}  // namespace foretell::util
