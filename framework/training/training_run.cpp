#include "framework/training/training_run.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/processors.h"
#include "framework/core/text.h"
#include "framework/formats/model_weights.h"
#include "framework/io/atomic_file.h"
#include "framework/io/mapped_file.h"
#include "framework/kernels/worker_threads.h"
#include "framework/model/load_model.h"
#include "framework/training/distillation.h"
#include "framework/training/language_loss.h"
#include "framework/training/model_folder.h"

namespace foretell::training {
namespace {

// What shapes the curve: all settings but those about when something is shown or written.
std::string shaping_settings(const TrainSettings& settings) {
  ConfigValue document = resolved_document(settings);
  ConfigValue run = *document.find("run");
  std::vector<ConfigValue::Entry> entries;
  for (const auto& entry : run.entries())
    if (entry.key != "checkpoint_every" && entry.key != "threads" && entry.key != "oversubscribe")
      entries.push_back(entry);
  document.set("run", ConfigValue::map(std::move(entries)));
  return document.to_yaml();
}

void add_by_family(CurvePoint& point, const std::string& name, const ByFamily& values) {
  if (const auto all = values.find(""); all != values.end()) point.values.push_back({name, all->second});
  if (values.size() <= 2) return;
  for (const auto& [family, value] : values)
    if (!family.empty()) point.values.push_back({fmt::format("{}.{}", name, family), value});
}

}  // namespace

TrainingRun::TrainingRun(TrainSettings settings, std::filesystem::path out, bool restart)
    : settings_(std::move(settings)), out_(std::move(out)), device_(model::parse_device(settings_.run.device)) {
  const auto& threads = settings_.run.threads;
  if (threads)
    check_threads(*threads, settings_.run.oversubscribe, settings_.where("run.threads"),
                  "`oversubscribe: true` beside it");
  kernels::use_threads(threads);
  load_tokenizer();
  load_model();
  load_target();
  load_data();
  std::shared_ptr<const autograd::Trainable> loss = std::make_shared<LanguageLoss>(model_);
  if (teacher_) loss = std::make_shared<DistillationLoss>(model_, teacher_, settings_.distill.mix);
  trainer_ = std::make_unique<Trainer>(std::move(loss), settings_, device_);
  resume(restart);
}

void TrainingRun::load_tokenizer() {
  const TrainModelSettings& model = settings_.model;
  const std::string path = model.tokenizer.value_or(model.from.value_or(""));
  tokenizer_ = std::filesystem::is_directory(path) ? tokenizers::try_load_tokenizer(path)
                                                   : foretell::tokenizers::load_tokenizer(path);
  if (!tokenizer_) fail_at(settings_.where("model"), "{}: holds no tokenizer", path);
}

void TrainingRun::load_model() {
  const TrainModelSettings& section = settings_.model;
  formats::ModelConfig config =
      section.from ? formats::load_stored_config(*section.from)
                   : formats::parse_model_config(io::MappedFile::open(*section.config).text(), *section.config);
  if (config.ternary || config.padded_vocab) {
    fail_at(settings_.where("model"), "a model that is {} cannot be trained",
            config.ternary ? "ternary" : "inflated: train the small one and inflate it then");
  }
  if (tokenizer_->vocab_size() > config.vocab_size) {
    fail_at(settings_.where("model"), "the tokenizer has ids up to {}, the model has a vocabulary of {}",
            tokenizer_->vocab_size() - 1, config.vocab_size);
  }
  if (settings_.batch.length > config.context)
    fail_at(settings_.where("batch.length"), "length: {} is more than the model's context of {}",
            settings_.batch.length, config.context);
  if (!config.bos) config.bos = tokenizer_->bos();
  for (const Token stop : chat::ChatTemplate::get(settings_.data.chat_template).stop_tokens(*tokenizer_))
    if (std::find(config.eos.begin(), config.eos.end(), stop) == config.eos.end()) config.eos.push_back(stop);
  config.dtype = settings_.run.save_dtype == "bf16" ? "bfloat16" : "float32";
  model_ = std::make_shared<autograd::TrainableTransformer>(config, device_);
  if (section.from) {
    model_->load(*section.from);
  } else {
    using enum autograd::TrainableTransformer::Start;
    const auto start = section.init == "induction" ? Induction : section.init == "mimetic" ? Mimetic : Normal;
    try {
      model_->initialise(static_cast<std::uint64_t>(section.init_seed), start);
    } catch (const Error& e) {
      fail_at(settings_.where("model"), "{}", e.what());
    }
  }
}

void TrainingRun::load_target() {
  if (!settings_.distill.target) return;
  const std::string& folder = *settings_.distill.target;
  const formats::ModelConfig config = formats::load_stored_config(folder);
  if (config.vocab_size != model_->config().vocab_size) {
    fail_at(settings_.where("distill.target"), "{}: the target has a vocabulary of {}, the draft of {}", folder,
            config.vocab_size, model_->config().vocab_size);
  }
  if (settings_.batch.length > config.context)
    fail_at(settings_.where("batch.length"), "length: {} is more than the target's context of {}",
            settings_.batch.length, config.context);
  teacher_ = std::make_shared<autograd::TrainableTransformer>(config, device_);
  teacher_->load(folder);
  teacher_->freeze();
  target_ = foretell::model::load_model(folder, {.dtype = at::kFloat, .device = device_});
}

ConversationWriter TrainingRun::writer() const {
  return {tokenizer_, &chat::ChatTemplate::get(settings_.data.chat_template), settings_.data.prompt_weight};
}

void TrainingRun::load_data() {
  if (settings_.data.type == "text") {
    TextData text = make_text_data(settings_.data, *tokenizer_, settings_.batch.length, settings_.run.eval_prompts);
    source_ = std::move(text.source);
    heldout_.samples = std::move(text.heldout);
    return;
  }
  heldout_ = make_heldout_tasks(settings_.data, settings_.batch, settings_.run.eval_prompts, writer());
  if (!teacher_ || settings_.distill.answers == "data") source_ = make_task_source(settings_.data, writer());
}

// Named after all that they depend on, so that answers to other questions are never taken for these.
std::filesystem::path TrainingRun::answers_file() const {
  const ConfigValue document = resolved_document(settings_);
  const std::string all =
      document.find("data")->to_flow() + document.find("distill")->to_flow() + settings_.model.tokenizer.value_or("");
  return out_ / fmt::format("answers-{:016x}.jsonl", name_hash(all));
}

// Whether there is something to train on; not if the target was stopped while it answered.
bool TrainingRun::has_data(const TrainHooks& hooks) {
  if (source_) return true;
  AnswerRequest request{answers_file(), target_, {}, hooks.stop};
  Stopwatch since_told;
  request.on_progress = [&](int done, int all) {
    if (done < all && since_told.elapsed_ns() < 10'000'000'000) return;
    since_told = Stopwatch();
    hooks.note(fmt::format("the target has answered {} of {}", done, counted(all, "conversation")));
  };
  std::vector<datasets::TaskExample> examples = target_answers(settings_, writer(), request);
  if (hooks.stop()) return false;
  source_ = make_example_source(std::move(examples), writer(), static_cast<std::uint64_t>(settings_.data.seed));
  return true;
}

void TrainingRun::resume(bool restart) {
  state_.settings = shaping_settings(settings_);
  io::make_folder(out_);
  if (std::filesystem::exists(checkpoint_file()) && !restart)
    state_ = load_checkpoint(checkpoint_file(), *trainer_, state_.settings);
}

bool TrainingRun::run(const TrainHooks& hooks) {
  if (!has_data(hooks)) return false;
  window_tokens_ = trainer_->data().tokens;
  watch_.lap_ns();
  while (trainer_->steps_done() < settings_.run.steps && !hooks.stop()) after_step(trainer_->step(*source_), hooks);
  save();
  return trainer_->steps_done() >= settings_.run.steps;
}

void TrainingRun::after_step(const StepReport& report, const TrainHooks& hooks) {
  const TrainRunSettings& run = settings_.run;
  const double seconds = static_cast<double>(watch_.lap_ns()) * 1e-9;
  state_.seconds += seconds;
  window_seconds_ += seconds;
  const double pace = static_cast<double>(trainer_->data().tokens - window_tokens_) / window_seconds_;
  const double loss = report.losses.empty() ? 0 : report.losses.front().second;
  own_seconds_ += seconds;  // an earlier part of this run may have had another pace
  const double seconds_left = own_seconds_ / ++own_steps_ * (run.steps - report.step);
  hooks.on_step({report.step, run.steps, loss, report.learning_rate, pace, seconds_left});
  const bool last = report.step == run.steps;
  CurvePoint point{report.step, {}};
  if (report.step % run.log_every == 0 || last) {
    point.values = {{"tokens", static_cast<double>(trainer_->data().tokens)}, {"learning_rate", report.learning_rate}};
    point.values.insert(point.values.end(), report.losses.begin(), report.losses.end());
    point.values.push_back({"gradient_norm", report.gradient_norm});
    point.values.push_back({"tokens_per_second", pace});
    window_seconds_ = 0;
    window_tokens_ = trainer_->data().tokens;
  }
  if (last || (run.eval_every > 0 && report.step % run.eval_every == 0)) evaluate(point, hooks);
  if (!point.values.empty()) state_.curve.push_back(std::move(point));
  if (report.step % run.checkpoint_every == 0 && !last) save();
  watch_.lap_ns();  // evaluating and writing are not training
}

void TrainingRun::evaluate(CurvePoint& point, const TrainHooks& hooks) {
  if (heldout_.samples.empty()) return;
  const ByFamily loss = heldout_loss(*model_, heldout_.samples, settings_.batch);
  add_by_family(point, "heldout_loss", loss);
  std::string text = fmt::format("step {}: held-out loss {:.4f}", point.step, loss.at(""));
  if (!heldout_.answers.empty()) {
    const auto stored = settings_.run.save_dtype == "bf16" ? at::kBFloat16 : at::kFloat;
    const auto model = model_->snapshot(stored);
    const ByFamily exact = exact_match_share(model, heldout_, tokenizer_);
    add_by_family(point, "exact_match", exact);
    text += fmt::format(", exact match {:.1f}%", 100 * exact.at(""));
    for (const auto& [family, share] : exact)
      if (!family.empty() && exact.size() > 2) text += fmt::format(", {} {:.0f}%", family, 100 * share);
    if (target_) {
      const ByFamily lengths = acceptance_length(target_, model, settings_.distill.acceptance_depth, heldout_);
      add_by_family(point, "mean_acceptance_length", lengths);
      text += fmt::format(", mean acceptance length {:.2f}", lengths.at(""));
    }
  }
  hooks.note(text);
}

void TrainingRun::save() {
  save_checkpoint(checkpoint_file(), *trainer_, state_);
  write_model_folder(out_, {settings_, *model_, state_, trainer_->data(), trainer_->steps_done()});
}

}  // namespace foretell::training
