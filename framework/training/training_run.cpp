#include "framework/training/training_run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/processors.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/kernels/worker_threads.h"
#include "framework/model/load_model.h"
#include "framework/training/distillation.h"
#include "framework/training/frozen_target.h"
#include "framework/training/model_folder.h"

namespace foretell::training {
namespace {

constexpr const char* kLength = "mean_acceptance_length";

ConfigValue without(const ConfigValue& section, std::initializer_list<std::string_view> keys) {
  std::vector<ConfigValue::Entry> entries;
  for (const auto& entry : section.entries())
    if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) entries.push_back(entry);
  return ConfigValue::map(std::move(entries));
}

// What shapes the curve: all settings but those about when something is shown, and where it is written.
std::string shaping_settings(const TrainSettings& settings) {
  ConfigValue document = resolved_document(settings);
  document.set("run", without(*document.find("run"), {"checkpoint_every", "threads", "oversubscribe"}));
  document.set("learner", without(*document.find("learner"), {"cache"}));
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
  learner_ = Registry<Learner>::instance().make(settings_.learner, {});
  check_sections();
  load_tokenizer();
  load_target();
  learner_->set_up({settings_, device_, tokenizer_, target_});
  if (target_) {
    prepare_ = [frozen = FrozenTarget(target_, learner_->required_hidden_states())](autograd::TrainBatch& batch) {
      frozen.read(batch);
    };
  }
  load_data();
  make_trainer();
  resume(restart);
}

void TrainingRun::make_trainer() { trainer_ = std::make_unique<Trainer>(learner_, settings_, device_, prepare_); }

void TrainingRun::check_sections() const {
  const TrainModelSettings& model = settings_.model;
  const std::string& name = learner_->label();
  if (const TargetSettings* target = learner_->target(); target && !target->folder)
    fail_at(target->where, "{}: the key 'target' is missing (a model's folder)", name);
  if (!learner_->trains_model() && (model.config || model.from))
    fail_at(settings_.where("model"), "{} learns heads of its target: 'config' and 'from' are of models", name);
  if (!learner_->trains_model()) return;
  if (model.config.has_value() == model.from.has_value())
    fail_at(settings_.where("model"),
            "the section 'model' needs exactly one of 'config' (new weights) and 'from' (a model's folder)");
  if (model.config && !model.tokenizer)
    fail_at(settings_.where("model"), "the section 'model' needs a 'tokenizer' (a folder or file)");
}

std::filesystem::path TrainingRun::tokenizer_path() const {
  if (settings_.model.tokenizer) return *settings_.model.tokenizer;
  return learner_->trains_model() ? settings_.model.from.value_or("") : learner_->target()->folder.value_or("");
}

void TrainingRun::load_tokenizer() {
  const std::string path = tokenizer_path().string();
  tokenizer_ = std::filesystem::is_directory(path) ? tokenizers::try_load_tokenizer(path)
                                                   : foretell::tokenizers::load_tokenizer(path);
  if (!tokenizer_) fail_at(settings_.where("model"), "{}: holds no tokenizer", path);
}

void TrainingRun::load_target() {
  const TargetSettings* asked = learner_->target();
  if (asked == nullptr) return;
  target_ = foretell::model::load_model(*asked->folder, {.dtype = asked->dtype == "bf16" ? at::kBFloat16 : at::kFloat,
                                                         .device = device_,
                                                         .int8 = asked->dtype == "int8"});
  const formats::ModelConfig& config = target_->config();
  if (settings_.batch.length > config.context)
    fail_at(settings_.where("batch.length"), "length: {} is more than the target's context of {}",
            settings_.batch.length, config.context);
  if (tokenizer_->vocab_size() > config.vocab_size)
    fail_at(asked->where, "the tokenizer has ids up to {}, the target has a vocabulary of {}",
            tokenizer_->vocab_size() - 1, config.vocab_size);
  if (settings_.data.type == "text" && asked->answers == "target")
    fail_at(asked->where, "{}: a text asks nothing that the target could answer: set answers: data", learner_->label());
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
  if (!target_ || learner_->target()->answers == "data") source_ = make_task_source(settings_.data, writer());
}

AnswerRequest TrainingRun::answer_request() const {
  const TargetSettings& asked = *learner_->target();
  AnswerRequest request{{}, settings_.data, asked, target_};
  const std::filesystem::path folder = asked.cache ? std::filesystem::path(*asked.cache) : out_;
  io::make_folder(folder);
  request.file = folder / answers_file_name(request, tokenizer_path());
  return request;
}

// Whether there is something to train on; not if the target was stopped while it answered.
bool TrainingRun::has_data(const TrainHooks& hooks) {
  if (source_) return true;
  AnswerRequest request = answer_request();
  request.stop = hooks.stop;
  Stopwatch since_told;
  request.on_progress = [&](int done, int all) {
    if (done < all && since_told.elapsed_ns() < 10'000'000'000) return;
    since_told = Stopwatch();
    hooks.note(fmt::format("the target has answered {} of {}", done, counted(all, "conversation")));
  };
  std::vector<datasets::TaskExample> examples = target_answers(writer(), request);
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
  const bool fresh = trainer_->steps_done() == 0;
  learner_->see(*source_, fresh);
  if (fresh) make_trainer();  // whose averages start as the weights do
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
  const bool best = keeps_best() && best_step() == report.step;
  if ((report.step % run.checkpoint_every == 0 || best) && !last) save();
  watch_.lap_ns();  // evaluating and writing are not training
}

void TrainingRun::evaluate(CurvePoint& point, const TrainHooks& hooks) {
  if (heldout_.samples.empty()) return;
  const Trainer::Averaged averaged(*trainer_);
  const ByFamily loss = heldout_loss(*learner_, heldout_.samples, settings_.batch, device_, prepare_);
  add_by_family(point, "heldout_loss", loss);
  std::string text = fmt::format("step {}: held-out loss {:.4f}", point.step, loss.at(""));
  if (!heldout_.answers.empty()) {
    if (const auto model = learner_->snapshot()) {
      const ByFamily exact = exact_match_share(model, heldout_, tokenizer_);
      add_by_family(point, "exact_match", exact);
      text += fmt::format(", exact match {:.1f}%", 100 * exact.at(""));
      for (const auto& [family, share] : exact)
        if (!family.empty() && exact.size() > 2) text += fmt::format(", {} {:.0f}%", family, 100 * share);
    }
    if (target_) measure_acceptance(point, text);
  }
  if (!learner_->exits().empty()) measure_exits(point, text);
  hooks.note(text);
}

// Where heads as they are now lie for a drafter to load; a model is drafted with as it is.
std::filesystem::path TrainingRun::saved_for_evaluation() const {
  std::filesystem::path folder = out_ / "checkpoint" / "evaluated";
  if (!learner_->drafts_from_folder()) return folder;
  io::make_folder(folder);
  learner_->save(folder);
  return folder;
}

// By exit: loss, perplexity, and the mean acceptance length of drafts that leave there.
void TrainingRun::measure_exits(CurvePoint& point, std::string& text) {
  const std::vector<int> exits = learner_->exits();
  const std::vector<double> losses =
      heldout_exit_losses(*learner_, heldout_.samples, settings_.batch, device_, prepare_);
  const auto target = target_ || heldout_.answers.empty() ? target_ : learner_->snapshot();
  const std::filesystem::path folder = saved_for_evaluation();
  for (std::size_t i = 0; i < exits.size(); ++i) {
    const std::string stem = fmt::format("exit.{}.", exits[i]);
    point.values.push_back({stem + "heldout_loss", losses[i]});
    point.values.push_back({stem + "perplexity", std::exp(losses[i])});
    text += fmt::format("; behind layer {}: loss {:.4f}", exits[i], losses[i]);
    if (heldout_.answers.empty()) continue;
    const auto drafted_by = learner_->exit_drafter(folder, exits[i]);
    if (!drafted_by) continue;
    const double length = heldout_acceptance(target, *drafted_by, heldout_).length.at("");
    point.values.push_back({stem + kLength, length});
    text += fmt::format(", mean acceptance length {:.2f}", length);
  }
}

// Of what would be saved now, through the ordinary decoding loop; beside it what teacher-forced acceptance predicts.
void TrainingRun::measure_acceptance(CurvePoint& point, std::string& text) {
  const int depth = learner_->target()->acceptance_depth;
  const auto drafted_by = learner_->drafter(saved_for_evaluation(), depth);
  if (!drafted_by) return;
  const HeldoutAcceptance measured = heldout_acceptance(target_, *drafted_by, heldout_);
  add_by_family(point, kLength, measured.length);
  text += fmt::format(", mean acceptance length {:.2f}", measured.length.at(""));
  const auto add_positions = [&](const std::string& name, const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      point.values.push_back({fmt::format("{}.{}", name, i + 1), values[i]});
  };
  add_positions("acceptance", measured.by_position);
  if (!answered_) answered_ = answered_samples(target_, heldout_, settings_.batch.length);
  const std::vector<double> forced =
      teacher_forced_acceptance(*learner_, *answered_, depth, settings_.batch, device_, prepare_);
  if (forced.empty()) return;
  add_positions("teacher_forced_acceptance", forced);
  point.values.push_back({"teacher_forced_length", length_of(forced)});
  text += fmt::format(" (teacher-forced {:.2f})", length_of(forced));
}

bool TrainingRun::keeps_best() const {
  return settings_.run.keep ? *settings_.run.keep == "best_acceptance" : !learner_->trains_model();
}

// Whose acceptance was the best of all evaluations, the first of equals; 0 where nothing was measured.
int TrainingRun::best_step() const {
  int best = 0;
  double most = 0;
  for (const CurvePoint& point : state_.curve) {
    for (const auto& [name, value] : point.values) {
      if (name != kLength || value <= most) continue;
      best = point.step;
      most = value;
    }
  }
  return best;
}

// Where the best is kept, it is saved when it was measured, and never later: the weights have changed since.
void TrainingRun::save() {
  io::make_folder(out_);
  const int best = keeps_best() ? best_step() : 0;
  if (best == 0 || best == trainer_->steps_done()) {
    const Trainer::Averaged averaged(*trainer_);
    learner_->save(out_);
  }
  write_run_files(out_, {settings_, *learner_, state_, trainer_->data(), trainer_->steps_done(),
                         best == 0 ? trainer_->steps_done() : best, tokenizer_path()});
  save_checkpoint(checkpoint_file(), *trainer_, state_);
}

}  // namespace foretell::training
