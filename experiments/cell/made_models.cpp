#include "experiments/cell/made_models.h"

#include <unistd.h>

#include <functional>
#include <system_error>

#include "experiments/results/result_files.h"
#include "experiments/util/paths.h"
#include "framework/core/error.h"
#include "framework/formats/bitllama.h"
#include "framework/formats/inflate.h"
#include "framework/formats/llama2c.h"
#include "framework/io/atomic_file.h"
#include "framework/io/content_hash.h"
#include "framework/model/make_random.h"

namespace foretell::cell {
namespace {

struct Context {
  const ConfigValue& description;
  const std::filesystem::path& study_folder;
  const std::filesystem::path& cache;

  std::filesystem::path path(const std::string& text, const char* key) const {
    return util::resolve_path(text, description.find(key)->where(), study_folder);
  }
};

// cache/name, filled by `make` if it is not there.
std::filesystem::path made(const Context& context, const std::string& name,
                           const std::function<void(const std::filesystem::path&)>& make) {
  auto folder = context.cache / name;
  if (std::filesystem::exists(folder)) return folder;
  results::refuse_link_out(context.cache, context.cache.parent_path());
  const auto unfinished = context.cache / fmt::format("{}.{}", name, ::getpid());
  io::make_folder(unfinished);
  make(unfinished);
  std::error_code failed;
  std::filesystem::rename(unfinished, folder, failed);
  if (failed) std::filesystem::remove_all(unfinished);  // another process was faster
  if (failed && !std::filesystem::exists(folder))
    fail("{}: cannot be put in place: {}", folder.string(), failed.message());
  return folder;
}

struct RandomModel {
  std::string config;
  std::int64_t seed = 1;
  void declare(Parameters& p) {
    p.add("config", config, "a config.json file", {.required = true});
    p.add("seed", seed, "of the random weights", {.min = 0});
  }
  std::filesystem::path make(const Context& context) const {
    const auto file = context.path(config, "config");
    return made(context, fmt::format("random-{}-{}", io::digits_of(io::file_hash(file)), seed),
                [&](const auto& folder) { model::make_random(file, folder, static_cast<std::uint64_t>(seed)); });
  }
};

struct ImportedModel {
  std::string format, file, tokenizer;
  void declare(Parameters& p) {
    p.add("format", format, "whose checkpoint it is", {.choices = {"llama2c", "bitllama"}, .required = true});
    p.add("file", file, "the checkpoint", {.required = true});
    p.add("tokenizer", tokenizer, "its tokenizer file", {.required = true});
  }
  std::filesystem::path make(const Context& context) const {
    const auto from = context.path(file, "file"), words = context.path(tokenizer, "tokenizer");
    return made(
        context,
        fmt::format("{}-{}-{}", format, io::digits_of(io::file_hash(from)), io::digits_of(io::file_hash(words))),
        [&](const auto& folder) {
          (format == "llama2c" ? formats::import_llama2c : formats::import_bitllama)(from, words, folder);
        });
  }
};

struct InflatedModel {
  ConfigValue model;
  std::string like;
  void declare(Parameters& p) {
    p.add("model", model, "the small model: a folder, or a mapping as here", {.required = true});
    p.add("like", like, "the config.json of the larger shape", {.required = true});
  }
  std::filesystem::path make(const Context& context) const {
    const auto small = model_folder(model, "model", context.study_folder, context.cache);
    const auto shape = context.path(like, "like");
    return made(
        context,
        fmt::format("inflated-{}-{}", io::digits_of(io::folder_hash(small)), io::digits_of(io::file_hash(shape))),
        [&](const auto& folder) {
          formats::inflate({small, shape, folder});
        });
  }
};

struct ModelKind {
  MadeModelDoc doc;
  std::function<std::filesystem::path(const Context&)> make;
};

template <class Options>
ModelKind model_kind(const std::string& name, const std::string& summary) {
  return {{name, summary, Parameters::describe<Options>()}, [name](const Context& context) {
            Options options;
            Parameters::read(context.description, "model '" + name + "'", options, {"type"});
            return options.make(context);
          }};
}

const std::vector<ModelKind>& model_kinds() {
  static const std::vector<ModelKind> all = {
      model_kind<RandomModel>("random", "a model of random weights, made from a config.json"),
      model_kind<ImportedModel>("imported", "another program's checkpoint, as `foretell import` reads it"),
      model_kind<InflatedModel>(
          "inflated", "a small model padded with zeros to a larger shape: its tokens at the larger model's cost")};
  return all;
}

}  // namespace

std::filesystem::path model_folder(const ConfigValue& description, std::string_view key,
                                   const std::filesystem::path& study_folder, const std::filesystem::path& cache) {
  if (!description.is_map()) return util::resolve_path(description, key, study_folder);
  const ConfigValue* type = description.find("type");
  const std::string name = type ? read_text(*type, "type") : "";
  std::vector<std::string> known;
  for (const ModelKind& kind : model_kinds()) {
    if (kind.doc.name == name) return kind.make({description, study_folder, cache});
    known.push_back(kind.doc.name);
  }
  known.emplace_back("replay");
  throw Error(description.where(), unknown_name_message(fmt::format("type of model.{}", key), name, known));
}

std::vector<MadeModelDoc> made_model_docs() {
  std::vector<MadeModelDoc> docs;
  for (const ModelKind& kind : model_kinds()) docs.push_back(kind.doc);
  return docs;
}

}  // namespace foretell::cell
