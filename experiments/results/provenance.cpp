#include "experiments/results/provenance.h"

#include <optional>
#include <set>

#include "framework/core/error.h"
#include "framework/io/content_hash.h"

namespace foretell::results {
namespace {

// How the study names a model, which is the same on every machine; the folder where the resolved study is gone.
std::string model_name(const std::optional<ConfigValue>& study, const std::string& who,
                       const io::OrderedJsonView& model) {
  const ConfigValue* section = study && study->is_map() ? study->find("model") : nullptr;
  const ConfigValue* named = section && section->is_map() ? section->find(who) : nullptr;
  return named ? named->to_flow() : model.string_or("folder", "");
}

void add(const std::string& field, const std::string& value, std::map<std::string, std::string>& out) {
  if (!value.empty()) out[field] = value;
}

std::string text_of(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// The value that each field had first, and where.
class FirstSeen {
 public:
  // Told of the first one where another value follows.
  template <class Differs>
  void add(const std::filesystem::path& folder, const std::string& field, const std::string& value,
           const Differs& differs) {
    const bool is_hash = value.starts_with("xxh3:") || util::is_cell_hash(value),
               is_old = is_hash && io::is_old_hash(value);
    old_hashes_ |= is_old;
    new_hashes_ |= is_hash && !is_old;
    const auto [first, added] = seen_.try_emplace({field, is_old}, Seen{value, folder});
    if (!added && first->second.value != value) differs(first->second.folder, first->second.value);
  }

  bool mixes_hashes() const { return old_hashes_ && new_hashes_; }

 private:
  struct Seen {
    std::string value;
    std::filesystem::path folder;
  };
  std::map<std::pair<std::string, bool>, Seen> seen_;  // by field, and whether its value is an old hash
  bool old_hashes_ = false, new_hashes_ = false;
};

}  // namespace

CellOrigin read_origin(const std::filesystem::path& cell) {
  const auto manifest = ResultJson::if_there(cell / "manifest.json");
  if (!manifest) return {.folder = cell};
  std::optional<ConfigValue> study;
  std::error_code ignored;
  if (const auto config = cell / "config.resolved.yaml"; std::filesystem::exists(config, ignored))
    study = parse_yaml(read_result_file(config), config.string());
  return origin_of(cell, *manifest, study);
}

CellOrigin origin_of(const std::filesystem::path& cell, const ResultJson& file,
                     const std::optional<ConfigValue>& study) {
  CellOrigin out{.folder = cell};
  const io::OrderedJsonView manifest = file.view();
  for (const std::string who : {"target", "draft"}) {
    const auto model = manifest.find(who);
    const auto files = model ? model->find("files") : std::nullopt;
    if (!files || files->raw().empty()) continue;
    const std::string field = fmt::format("{} model {}", who, model_name(study, who, *model));
    std::string names;
    for (const auto& [name, hash] : files->entries()) {
      out.same[fmt::format("{}: {}", field, name)] = hash.string();
      names.append(name).append(" ");
    }
    out.same[field + ": its files"] = names;
  }
  if (const auto inputs = manifest.find("inputs"))
    for (const auto& [path, hash] : inputs->entries()) out.same["input " + path] = hash.string();
  if (const auto distributions = manifest.find("laws"))
    out.same["recorded distributions " + distributions->at("file").string()] = distributions->at("hash").string();
  if (const auto plugins = manifest.find("plugins"))
    for (std::size_t i = 0; i < plugins->size(); ++i)
      out.program["plug-in " + plugins->at(i).at("file").string()] = plugins->at(i).at("hash").string();
  if (const auto program = manifest.find("foretell")) {
    add("revision of Foretell", program->string_or("revision", ""), out.program);
    add("compiler", program->string_or("compiler", ""), out.machine);
  }
  if (const auto cpu = manifest.find("cpu")) add("processor", cpu->string_or("model", ""), out.machine);
  for (const auto& [key, what] : {std::pair("threads", "threads"), {"device", "device"}, {"libtorch", "LibTorch"}})
    if (const auto value = manifest.find(key)) add(what, text_of(value->raw()), out.machine);
  return out;
}

std::vector<std::string> check_origins(std::span<const CellOrigin> cells, bool one_program) {
  FirstSeen seen;
  std::set<std::string> notes;
  for (const CellOrigin& cell : cells) {
    const auto for_each_difference = [&](const std::map<std::string, std::string>& fields, const auto& differs) {
      for (const auto& entry : fields)  // clang 14 does not capture a structured binding
        seen.add(cell.folder, entry.first, entry.second,
                 [&](const std::filesystem::path& folder, const std::string& other) {
                   differs(entry.first, fmt::format("{} and {} differ in the {} ({}, {})", folder.string(),
                                                    cell.folder.string(), entry.first, other, entry.second));
                 });
    };
    const auto refuse = [](const std::string&, const std::string& what) {
      fail("{}: they cannot stand beside one another", what);
    };
    for_each_difference(cell.same, refuse);
    for_each_difference(cell.program, [&](const std::string& field, const std::string& what) {
      if (one_program) refuse(field, what);
      notes.insert(what);
    });
    for_each_difference(cell.machine, [&](const std::string& field, const std::string&) {
      notes.insert(
          fmt::format("cells were run with another {}: their times cannot be compared with one another", field));
    });
  }
  if (seen.mixes_hashes())
    notes.insert(
        "some manifests have the hashes of an older Foretell: whether their weights are those of the others is not "
        "known");
  return {notes.begin(), notes.end()};
}

}  // namespace foretell::results
