#include "experiments/util/paths.h"

#include <cstdlib>
#include <system_error>

#include "framework/core/parameters.h"
#include "framework/io/content_hash.h"

namespace foretell::util {
namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// What the innermost InputFiles of this thread collects into.
std::set<std::filesystem::path>*& collected() {
  thread_local std::set<std::filesystem::path>* files = nullptr;
  return files;
}

const std::filesystem::path& noted(const std::filesystem::path& path) {
  if (collected()) collected()->insert(path);
  return path;
}

}  // namespace

InputFiles::InputFiles() : outer_(collected()) { collected() = &files_; }

InputFiles::~InputFiles() { collected() = outer_; }

std::map<std::string, std::string> InputFiles::hashes() const {
  std::map<std::string, std::string> out;
  std::error_code ignored;
  for (const auto& path : files_)
    if (std::filesystem::is_regular_file(path, ignored)) out[path.string()] = io::file_hash(path);
  return out;
}

std::string expand_environment(const std::string& text, const Location& where) {
  std::string out;
  std::size_t at = 0;
  while (true) {
    const std::size_t open = text.find("${", at);
    if (open == std::string::npos) return out + text.substr(at);
    const std::size_t close = text.find('}', open);
    if (close == std::string::npos) fail_at(where, "'{}' has a '${{' without a '}}'", text);
    const std::string name = text.substr(open + 2, close - open - 2);
    const char* value = std::getenv(name.c_str());
    if (!value || !*value) fail_at(where, "the environment variable {} is not set; '{}' needs it", name, text);
    out += text.substr(at, open - at) + value;
    at = close + 1;
  }
}

ConfigValue expand_environment(const ConfigValue& value) {
  switch (value.kind()) {
    case ConfigValue::Kind::Null: return value;
    case ConfigValue::Kind::Scalar:
      return ConfigValue::scalar(expand_environment(value.text(), value.where()), value.where(), value.quoted());
    case ConfigValue::Kind::List: {
      std::vector<ConfigValue> items;
      for (const ConfigValue& item : value.items()) items.push_back(expand_environment(item));
      return ConfigValue::list(std::move(items), value.where());
    }
    case ConfigValue::Kind::Map: break;
  }
  std::vector<ConfigValue::Entry> entries;
  for (const auto& entry : value.entries())
    entries.push_back({entry.key, expand_environment(entry.value), entry.where});
  return ConfigValue::map(std::move(entries), value.where());
}

std::filesystem::path resolve_path(const std::string& text, const Location& where,
                                   const std::filesystem::path& study_folder) {
  const std::filesystem::path path = expand_environment(text, where);
  if (is_there(path)) return noted(path);
  if (path.is_absolute() || study_folder.empty()) fail_at(where, "{}: no such file or folder", path.string());
  const std::filesystem::path beside = (study_folder / path).lexically_normal();
  if (!is_there(beside))
    fail_at(where, "{}: no such file or folder, neither here nor beside the study ({})", path.string(),
            beside.string());
  return noted(beside);
}

std::filesystem::path resolve_path(const ConfigValue& value, std::string_view key,
                                   const std::filesystem::path& study_folder) {
  return resolve_path(read_text(value, key), value.where(), study_folder);
}

}  // namespace foretell::util
