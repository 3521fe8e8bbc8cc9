#include "experiments/cell/model_pool.h"

#include <ATen/Parallel.h>

#include <fmt/ranges.h>

#include <system_error>

#include "experiments/cell/made_models.h"
#include "experiments/util/console.h"
#include "framework/chat/own_template.h"
#include "framework/core/parameters.h"
#include "framework/core/printable.h"
#include "framework/decoding/aligned_vocabulary.h"
#include "framework/measurement/measured_costs.h"
#include "framework/tokenizers/map_vocabularies.h"

namespace foretell::cell {
namespace {

std::string real_path(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto real = std::filesystem::weakly_canonical(path, ignored);
  return ignored ? path.string() : real.string();
}

// The tokenizer file that a folder is known by is its own business; one that is no folder is taken as it is.
std::shared_ptr<const tokenizers::Tokenizer> read_tokenizer(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? tokenizers::try_load_tokenizer(path)
                                                      : tokenizers::load_tokenizer(path);
}

// EOS as a template writes it.
std::string eos_text(const tokenizers::Tokenizer* tokenizer) {
  return tokenizer && !tokenizer->eos().empty() ? tokenizer->id_to_token(tokenizer->eos().front()) : "";
}

chat::ChatTemplate read_own_template(const std::filesystem::path& folder, const tokenizers::Tokenizer* tokenizer) {
  const chat::ChatTemplate& bare = chat::ChatTemplate::get("none");
  const auto own = chat::find_own_template(folder);
  if (!own) return bare;
  std::string why;
  if (auto known = chat::recognise_template(own->text, eos_text(tokenizer), &why)) return *std::move(known);
  util::print_error(
      fmt::format("note: {}: the model's own chat template is none of the known ones ({}){}, and Jinja is not run: "
                  "prompts are given to "
                  "the model as they are. --chat-template or workload.chat_template chooses one\n",
                  own->file, fmt::join(chat::ChatTemplate::names(), ", "),
                  why.empty() ? "" : fmt::format(": it has {}, which is not understood", why)));
  return bare;
}

std::string type_name(const model::ModelLoadOptions& options) {
  const std::string_view cache = options.int8_cache ? ", int8 cache" : "";
  if (options.int8) return fmt::format("int8{}", cache);
  if (options.int4) return fmt::format("int4{}:{}{}", options.int4->zero_points ? "z" : "", options.int4->group, cache);
  return fmt::format("{}{}", options.dtype ? c10::toString(*options.dtype) : "auto", cache);
}

}  // namespace

std::shared_ptr<const model::LanguageModel> ModelPool::model(const std::filesystem::path& folder,
                                                             const model::ModelLoadOptions& options) {
  auto& model = models_[fmt::format("{}|{}|{}", real_path(folder), type_name(options), options.device.str())];
  if (!model) model = load_model(folder, options);
  return model;
}

std::shared_ptr<const cost::RowCosts> ModelPool::row_costs(const std::filesystem::path& target,
                                                           const std::filesystem::path& draft,
                                                           const model::ModelLoadOptions& options) {
  const std::string key = fmt::format("{}|{}|{}|{}|{}", real_path(target), draft.empty() ? "" : real_path(draft),
                                      type_name(options), options.device.str(), at::get_num_threads());
  auto& costs = costs_[key];
  if (!costs)
    costs =
        measurement::measure_row_costs(*model(target, options), draft.empty() ? nullptr : model(draft, options).get());
  return costs;
}

std::optional<SharedIds> ModelPool::shared_ids(const tokenizers::Tokenizer* target,
                                               const std::filesystem::path& draft) {
  const auto of_draft = target ? tokenizer(draft) : nullptr;
  if (!of_draft) return std::nullopt;
  SharedIds shared = foretell::tokenizers::shared_ids(*target, *of_draft);
  if (shared.agree() && shared.different > 0 && named_drafts_.insert(real_path(draft)).second)
    util::print_error(fmt::format(
        "note: {}: {} of {} ids are other tokens to the draft model than to its target, first {}: '{}' to the target, "
        "'{}' to the draft\n",
        draft.string(), shared.different, shared.count, shared.first, printable(excerpt(shared.in_target)),
        printable(excerpt(shared.in_draft))));
  return shared;
}

std::shared_ptr<const model::LanguageModel> ModelPool::draft_model(const model::LanguageModel& target,
                                                                   const tokenizers::Tokenizer* target_tokenizer,
                                                                   const std::filesystem::path& folder,
                                                                   const model::ModelLoadOptions& options) {
  return decoding::in_target_ids(model(folder, options), target.config().vocab_size,
                                 shared_ids(target_tokenizer, folder), folder.string());
}

const chat::ChatTemplate& ModelPool::own_template(const std::filesystem::path& folder) {
  const std::string key = real_path(folder);
  const auto known = templates_.find(key);
  if (known != templates_.end()) return known->second;
  return templates_.emplace(key, read_own_template(folder, tokenizer(folder).get())).first->second;
}

void ModelPool::forget_unused() {
  std::erase_if(models_, [](const auto& known) { return known.second.use_count() == 1; });
}

std::shared_ptr<const tokenizers::Tokenizer> ModelPool::tokenizer(const std::filesystem::path& folder_or_file) {
  const std::string key = real_path(folder_or_file);
  const auto known = tokenizers_.find(key);
  return known != tokenizers_.end() ? known->second
                                    : tokenizers_.emplace(key, read_tokenizer(folder_or_file)).first->second;
}

std::filesystem::path ModelPool::folder_of(const ConfigValue& description, std::string_view key,
                                           const std::filesystem::path& study_folder) const {
  return model_folder(description, key, study_folder, made_folder_);
}

std::string number_type(const std::optional<std::string>& dtype, const formats::ModelConfig& config) {
  return dtype && *dtype != "int8" && !model::parse_int4(*dtype) ? *dtype : config.dtype.value_or("float32");
}

model::ModelLoadOptions load_options(const std::optional<std::string>& dtype, const std::string& device,
                                     const std::optional<std::string>& kv_dtype) {
  model::ModelLoadOptions options;
  options.int8 = dtype == "int8";
  if (dtype) options.int4 = model::parse_int4(*dtype);
  if (dtype && !options.int8 && !options.int4) options.dtype = model::parse_dtype(*dtype);
  options.device = model::parse_device(device);
  if (kv_dtype && *kv_dtype != "int8" && *kv_dtype != "auto")
    fail("unknown KV cache dtype '{}'; known: auto (the model's own), int8", *kv_dtype);
  options.int8_cache = kv_dtype == "int8";
  return options;
}

void check_vocabulary(const model::LanguageModel& model, const tokenizers::Tokenizer* tokenizer,
                      const std::filesystem::path& folder) {
  const int rows = model.config().vocab_size;
  if (tokenizer && tokenizer->vocab_size() > rows)
    fail("{}: the tokenizer does not fit the model: it has ids up to {}, the model has a vocabulary of {}",
         folder.string(), tokenizer->vocab_size() - 1, rows);
}

std::string model_type(const ConfigValue& description) {
  const ConfigValue* type = description.find("type");
  return type ? read_text(*type, "type") : "";
}

}  // namespace foretell::cell
