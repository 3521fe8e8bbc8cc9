#include "experiments/model_pool.h"

#include <system_error>

#include "experiments/content_hash.h"
#include "experiments/paths.h"
#include "framework/base/parameters.h"
#include "framework/model/files/atomic_file.h"
#include "framework/model/make_random.h"

namespace foretell {
namespace {

struct RandomModel {
  std::string config;
  std::int64_t seed = 1;
  void declare(Parameters& p) {
    p.add("config", config, "a config.json file", {.required = true});
    p.add("seed", seed, "of the random weights", {.min = 0});
  }
};

std::string real_path(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto real = std::filesystem::weakly_canonical(path, ignored);
  return ignored ? path.string() : real.string();
}

// The tokenizer file that a folder is known by is its own business; one that is no folder is taken as it is.
std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? try_load_tokenizer(path) : load_tokenizer(path);
}

}  // namespace

std::shared_ptr<const LanguageModel> ModelPool::model(const std::filesystem::path& folder, const ModelLoadOptions& options) {
  const std::string dtype = options.dtype ? c10::toString(*options.dtype) : "auto";
  auto& model = models_[fmt::format("{}|{}|{}", real_path(folder), dtype, options.device.str())];
  if (!model) model = load_model(folder, options);
  return model;
}

void ModelPool::forget_unused() {
  std::erase_if(models_, [](const auto& known) { return known.second.use_count() == 1; });
}

std::shared_ptr<const Tokenizer> ModelPool::tokenizer(const std::filesystem::path& folder_or_file) {
  const std::string key = real_path(folder_or_file);
  const auto known = tokenizers_.find(key);
  return known != tokenizers_.end() ? known->second : tokenizers_.emplace(key, read_tokenizer(folder_or_file)).first->second;
}

std::filesystem::path ModelPool::folder_of(const ConfigValue& description, std::string_view key,
                                           const std::filesystem::path& study_folder) {
  const std::string type = model_type(description);
  if (type == "random") return make_random_model(description, study_folder);
  if (description.is_map()) {
    const std::vector<std::string> known = {"random", "replay"};
    throw Error(description.where(), unknown_name_message(fmt::format("type of model.{}", key), type, known));
  }
  return resolve_path(description, key, study_folder);
}

std::filesystem::path ModelPool::make_random_model(const ConfigValue& description, const std::filesystem::path& study_folder) {
  RandomModel random;
  Parameters::read(description, "random model", random, {"type"});
  const auto config = resolve_path(random.config, description.find("config")->where(), study_folder);
  const std::string name = fmt::format("random-{}-{}", file_hash(config), random.seed);
  const auto folder = made_folder_ / name;
  if (!std::filesystem::exists(folder / "model.safetensors")) {
    make_folder(made_folder_);
    make_random(config, folder, static_cast<std::uint64_t>(random.seed));
  }
  return folder;
}

ModelLoadOptions load_options(const std::optional<std::string>& dtype, const std::string& device) {
  ModelLoadOptions options;
  if (dtype) options.dtype = parse_dtype(*dtype);
  options.device = parse_device(device);
  return options;
}

void check_vocabulary(const LanguageModel& model, const Tokenizer* tokenizer, const std::filesystem::path& folder) {
  const int rows = model.config().vocab_size;
  if (tokenizer && tokenizer->vocab_size() > rows)
    fail("{}: the tokenizer does not fit the model: it has ids up to {}, the model has a vocabulary of {}", folder.string(),
         tokenizer->vocab_size() - 1, rows);
}

std::string model_type(const ConfigValue& description) {
  const ConfigValue* type = description.find("type");
  return type ? read_text(*type, "type") : "";
}

std::vector<ParameterDoc> random_model_parameters() { return Parameters::describe<RandomModel>(); }

}  // namespace foretell
