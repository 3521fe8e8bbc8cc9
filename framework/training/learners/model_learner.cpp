#include "framework/training/learners/model_learner.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/chat/chat_template.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/formats/model_weights.h"
#include "framework/io/mapped_file.h"
#include "framework/training/language_loss.h"
#include "framework/training/model_folder.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

formats::ModelConfig config_of(const LearnerInputs& inputs) {
  const TrainSettings& settings = inputs.settings;
  const TrainModelSettings& section = settings.model;
  formats::ModelConfig config =
      section.from ? formats::load_stored_config(*section.from)
                   : formats::parse_model_config(io::MappedFile::open(*section.config).text(), *section.config);
  if (config.ternary || config.padded_vocab) {
    fail_at(settings.where("model"), "a model that is {} cannot be trained",
            config.ternary ? "ternary" : "inflated: train the small one and inflate it then");
  }
  if (inputs.tokenizer->vocab_size() > config.vocab_size) {
    fail_at(settings.where("model"), "the tokenizer has ids up to {}, the model has a vocabulary of {}",
            inputs.tokenizer->vocab_size() - 1, config.vocab_size);
  }
  if (settings.batch.length > config.context)
    fail_at(settings.where("batch.length"), "length: {} is more than the model's context of {}", settings.batch.length,
            config.context);
  if (!config.bos) config.bos = inputs.tokenizer->bos();
  for (const Token stop : chat::ChatTemplate::get(settings.data.chat_template).stop_tokens(*inputs.tokenizer))
    if (std::find(config.eos.begin(), config.eos.end(), stop) == config.eos.end()) config.eos.push_back(stop);
  config.dtype = settings.run.save_dtype == "bf16" ? "bfloat16" : "float32";
  return config;
}

}  // namespace

void ModelLearner::set_up(const LearnerInputs& inputs) {
  const TrainSettings& settings = inputs.settings;
  const TrainModelSettings& section = settings.model;
  stored_ = settings.run.save_dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  model_ = std::make_shared<autograd::TrainableTransformer>(config_of(inputs), inputs.device);
  if (section.from) return model_->load(*section.from);
  using enum autograd::TrainableTransformer::Start;
  const auto start = section.init == "induction" ? Induction : section.init == "mimetic" ? Mimetic : Normal;
  try {
    model_->initialise(static_cast<std::uint64_t>(section.init_seed), start);
  } catch (const Error& e) {
    fail_at(settings.where("model"), "{}", e.what());
  }
}

void ModelLearner::check_vocabulary(const model::LanguageModel& target, const TargetSettings& settings) const {
  if (target.config().vocab_size != model_->config().vocab_size)
    fail_at(settings.where, "{}: the target has a vocabulary of {}, the draft of {}",
            settings.folder.value_or("the target"), target.config().vocab_size, model_->config().vocab_size);
}

double ModelLearner::heldout_loss(const autograd::TrainBatch& batch) const {
  const c10::NoGradGuard no_grad;
  const at::Tensor state = loss_states(model_->forward(batch), batch);
  return autograd::head_loss_training(state, model_->head(), batch.targets, batch.weights).item<double>();
}

std::shared_ptr<const model::LanguageModel> ModelLearner::snapshot() const { return model_->snapshot(stored_); }

void ModelLearner::save(const std::filesystem::path& folder) const {
  formats::write_model_config(folder, model_->config());
  write_generation_config(folder, model_->config());
  write_weights(folder, *model_);
}

std::string ModelLearner::description() const {
  const formats::ModelConfig& config = model_->config();
  return fmt::format("A {} model of {:.2f} million parameters ({}, hidden size {}, vocabulary {}, context {})",
                     config.family, static_cast<double>(model_->parameter_count()) / 1e6,
                     counted(config.num_layers, "layer"), config.hidden_size, config.vocab_size, config.context);
}

}  // namespace foretell::training::learners
