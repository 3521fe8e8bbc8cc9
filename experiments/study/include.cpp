#include "experiments/study/include.h"

#include <algorithm>

#include "experiments/util/paths.h"
#include "framework/core/parameters.h"

namespace foretell::study {
namespace {

constexpr const char* kInclude = "include";
constexpr int kMaxFiles = 64;
using Prepare = std::function<void(ConfigValue&, const std::filesystem::path&)>;

std::string same_file_name(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::weakly_canonical(file, ignored).string();
}

bool has_another_type(const ConfigValue& base, const ConfigValue& over) {
  const ConfigValue *old = base.find("type"), *fresh = over.find("type");
  return fresh && !(old && same_value(*old, *fresh));
}

ConfigValue without(const ConfigValue& map, std::string_view key) {
  std::vector<ConfigValue::Entry> entries;
  for (const auto& entry : map.entries())
    if (entry.key != key) entries.push_back(entry);
  return ConfigValue::map(std::move(entries), map.where());
}

std::vector<ConfigValue> included_by(const ConfigValue& document) {
  const ConfigValue* include = document.find(kInclude);
  if (!include) return {};
  return include->is_list() ? include->items() : std::vector<ConfigValue>{*include};
}

struct Loading {
  const Prepare& prepare;
  std::vector<std::string> open = {};  // the files that are being read, outermost first
  int files = 0;
};

ConfigValue load(const std::filesystem::path& file, Loading& loading) {
  if (++loading.files > kMaxFiles) fail("include: more than {} files", kMaxFiles);
  loading.open.push_back(same_file_name(file));
  ConfigValue document = load_yaml(file);
  if (document.is_map()) {
    loading.prepare(document, file.parent_path());
    const std::vector<ConfigValue> names = included_by(document);
    ConfigValue base = ConfigValue::map({});
    for (const ConfigValue& name : names) {
      const std::filesystem::path path =
          util::resolve_path(read_text(name, kInclude), name.where(), file.parent_path());
      if (std::find(loading.open.begin(), loading.open.end(), same_file_name(path)) != loading.open.end())
        fail_at(name.where(), "include: {} includes itself", path.string());
      base = merged(base, placed_at(name.where(), [&] { return load(path, loading); }));
    }
    if (!names.empty()) document = merged(base, without(document, kInclude));
  }
  loading.open.pop_back();
  return document;
}

}  // namespace

ConfigValue merged(const ConfigValue& base, const ConfigValue& over) {
  if (!base.is_map() || !over.is_map() || has_another_type(base, over)) return over;
  std::vector<ConfigValue::Entry> entries = base.entries();
  for (const auto& entry : over.entries()) {
    const auto old = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == entry.key; });
    if (old == entries.end())
      entries.push_back(entry);
    else
      *old = {entry.key, merged(old->value, entry.value), entry.where};
  }
  return ConfigValue::map(std::move(entries), over.where());
}

ConfigValue load_with_includes(const std::filesystem::path& file, const Prepare& prepare) {
  Loading loading{prepare};
  return load(file, loading);
}

}  // namespace foretell::study
