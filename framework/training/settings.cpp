#include "framework/training/settings.h"

#include <algorithm>
#include <cctype>

#include "framework/chat/chat_template.h"

namespace foretell::training {
namespace {

struct Sections {
  std::string name, description;
  std::optional<std::string> out;
  ConfigValue model, data, distill, optimizer, batch, run;
  void declare(Parameters& p) {
    p.add("train", name, "the name of what is trained", {.required = true});
    p.add("description", description, "free text");
    p.add("out", out, "the folder to make; --out wins");
    p.add("model", model, "what is trained", {.required = true});
    p.add("data", data, "on what");
    p.add("distill", distill, "the target that a draft model learns from");
    p.add("optimizer", optimizer, "how weights change");
    p.add("batch", batch, "rows of one optimiser step");
    p.add("run", run, "how long, and what is written when");
  }
};

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const std::string_view family : datasets::task_families()) names.emplace_back(family);
  return names;
}

void check_family(const std::string& family, const Location& where) {
  const std::vector<std::string> known = family_names();
  if (std::find(known.begin(), known.end(), family) == known.end())
    throw Error(where, unknown_name_message("task family", family, known));
}

void read_data(TrainSettings& s, const ConfigValue& section) {
  Parameters::read(section, "section 'data'", s.data);
  Parameters::read(s.data.tasks_section, "data.tasks", s.data.tasks);
  for (const std::string& family : s.data.families) check_family(family, s.where("data.families"));
  if (s.data.families.empty()) s.data.families = family_names();
  if (!s.data.weights_section.is_null() && !s.data.weights_section.is_map())
    fail_at(s.data.weights_section.where(), "weights: family: share");
  for (const auto& entry : s.data.weights_section.entries()) {
    check_family(entry.key, entry.where);
    const double share = read_number(entry.value, entry.key);
    if (!(share >= 0)) fail_at(entry.value.where(), "{}: a share of {} is below 0", entry.key, share);
    s.data.weights[entry.key] = share;
  }
  const std::vector<std::string> templates = chat::ChatTemplate::names();
  if (std::find(templates.begin(), templates.end(), s.data.chat_template) == templates.end())
    throw Error(s.where("data.chat_template"), unknown_name_message("chat template", s.data.chat_template, templates));
}

// Every field with its value; one that is not set is left out.
template <class Section>
ConfigValue resolved(const Section& section) {
  ConfigValue out = ConfigValue::map({});
  for (const ParameterDoc& parameter : Parameters::describe(section))
    if (parameter.default_value != "none" && !parameter.default_value.empty())
      out.set(parameter.name, parse_yaml(parameter.default_value, parameter.name));
  return out;
}

void check_combinations(const TrainSettings& s) {
  if (s.model.config.has_value() == s.model.from.has_value())
    fail_at(s.where("model"),
            "the section 'model' needs exactly one of 'config' (new weights) and 'from' (a model's folder)");
  if (s.model.config && !s.model.tokenizer)
    fail_at(s.where("model"), "the section 'model' needs a 'tokenizer' (a folder or file)");
  if (s.optimizer.betas.size() != 2) fail_at(s.where("optimizer.betas"), "betas: two numbers");
  for (const double beta : s.optimizer.betas)
    if (!(beta >= 0 && beta < 1)) fail_at(s.where("optimizer.betas"), "betas: {} is outside of [0, 1)", beta);
  const kernels::training::DistillMix& mix = s.distill.mix;
  if (s.distill.target && mix.ce + mix.kl + mix.tvd <= 0)
    fail_at(s.where("distill"), "distill: ce, kl and tvd are all 0: nothing is learned");
  if (!s.distill.target && s.document.find("distill"))
    fail_at(s.where("distill"), "the section 'distill' needs the key 'target' (a model's folder)");
  if (std::all_of(s.data.families.begin(), s.data.families.end(), [&](const std::string& family) {
        return s.data.weights.contains(family) && s.data.weights.at(family) <= 0;
      }))
    fail_at(s.where("data.weights"), "weights: every family has a share of 0");
  if (s.distill.target && s.data.type == "text" && s.distill.answers == "target")
    fail_at(s.where("distill"), "distill: a text asks nothing that the target could answer: set answers: data");
  if (s.data.type == "text" && s.data.files.empty())
    fail_at(s.where("data"), "data of type text needs 'files' (or --text FILE ...)");
  if (s.data.type == "generated" && !s.data.files.empty())
    fail_at(s.where("data.files"), "files are for data of type text");
}

}  // namespace

void TrainModelSettings::declare(Parameters& p) {
  p.add("config", config, "a config.json: new weights of that shape");
  p.add("from", from, "a model's folder: its weights are trained further");
  p.add("tokenizer", tokenizer, "a tokenizer's folder or file; with 'from' that folder's own");
  p.add("init_seed", init_seed, "of new weights", {.min = 0});
  p.add("init", init,
        "mimetic: attention starts as a search for equal tokens (arXiv 2305.09828); induction: and with heads that "
        "copy what followed the "
        "same words "
        "before (arXiv 2209.11895)",
        {.choices = {"normal", "mimetic", "induction"}});
}

void TrainDataSettings::declare(Parameters& p) {
  p.add("type", type, "generated tasks, or text from files", {.choices = {"generated", "text"}});
  p.add("families", families, "task families; all without it");
  p.add("weights", weights_section, "family: how often it comes, relative to 1");
  p.add("tasks", tasks_section, "settings of the task generator");
  p.add("files", files, "text files, one text after the other");
  p.add("heldout", heldout, "the share of a text that is kept for evaluation", {.min = 0.0, .max = 0.5});
  p.add("seed", seed, "of the order", {.min = 0});
  p.add("chat_template", chat_template, "how a conversation is written");
  p.add("prompt_weight", prompt_weight, "the loss weight of what is not an answer", {.min = 0.0, .max = 1.0});
  p.add("curriculum", curriculum, "generated tasks: so many conversations at the start are easier, less and less so",
        {.min = 0});
}

void DistillSettings::declare(Parameters& p) {
  p.add("target", target, "the target's folder; without it nothing is distilled");
  p.add("answers", answers, "whose answers are learned: the target's own to the training prompts, or the data's",
        {.choices = {"target", "data"}});
  p.add("samples", samples, "conversations that the target answers", {.min = 1});
  p.add("answer_temperature", answer_temperature, "of these answers", {.min = 0.0});
  p.add("temperature", mix.temperature, "of both distributions in kl and tvd", {.min = 0.01, .max = 100.0});
  p.add("ce", mix.ce, "weight of the cross-entropy of the answers", {.min = 0.0});
  p.add("kl", mix.kl, "weight of the forward divergence KL(target || draft)", {.min = 0.0});
  p.add("tvd", mix.tvd, "weight of the total variation distance: one minus the expected acceptance", {.min = 0.0});
  p.add("acceptance_depth", acceptance_depth, "drafted tokens when acceptance is measured", {.min = 1, .max = 64});
}

void OptimizerSettings::declare(Parameters& p) {
  p.add("type", type, "the optimiser", {.choices = {"adamw"}});
  p.add("learning_rate", learning_rate, "at the end of the warm-up", {.min = 0.0, .aliases = {"lr"}});
  p.add("betas", betas, "decay of the two moments");
  p.add("eps", eps, "added to the root of the second moment", {.min = 0.0});
  p.add("weight_decay", weight_decay, "of matrices; not of norms, biases and embeddings", {.min = 0.0});
  p.add("warmup_steps", warmup_steps, "steps until the learning rate is reached", {.min = 0});
  p.add("min_lr_ratio", min_lr_ratio, "the share of the learning rate that the cosine ends at",
        {.min = 0.0, .max = 1.0});
  p.add("clip", clip, "the largest norm of a gradient; 0 for no limit", {.min = 0.0});
}

void TrainBatchSettings::declare(Parameters& p) {
  p.add("rows", rows, "full rows of one forward: rows x length tokens at most", {.min = 1, .max = 1 << 20});
  p.add("length", length, "tokens of a row: the longest conversation that is used", {.min = 2, .max = 1 << 20});
  p.add("accumulate", accumulate, "forwards of one optimiser step", {.min = 1, .max = 1 << 20});
}

void TrainRunSettings::declare(Parameters& p) {
  p.add("steps", steps, "of the optimiser", {.min = 1});
  p.add("dtype", dtype, "f32, or bf16 by autocast", {.choices = {"f32", "bf16"}});
  p.add("save_dtype", save_dtype, "of the saved weights", {.choices = {"f32", "bf16"}});
  p.add("device", device, "cpu, cuda or cuda:N");
  p.add("threads", threads, "CPU threads, at most one a processor", {.min = 1, .max = 4096});
  p.add("oversubscribe", oversubscribe, "allow more threads than there are processors");
  p.add("checkpoint_every", checkpoint_every, "steps", {.min = 1});
  p.add("eval_every", eval_every, "steps; 0 for at the end only", {.min = 0});
  p.add("eval_prompts", eval_prompts, "held-out conversations of each family", {.min = 0});
  p.add("log_every", log_every, "steps", {.min = 1});
}

Location TrainSettings::where(std::string_view path) const {
  const ConfigValue* value = document.find_path(path);
  return value ? value->where() : document.where();
}

TrainSettings read_train_settings(const ConfigValue& document) {
  Sections sections;
  Parameters::read(document, "a training file", sections);
  TrainSettings s;
  s.document = document;
  s.name = sections.name;
  s.out = sections.out;
  Parameters::read(sections.model, "section 'model'", s.model);
  read_data(s, sections.data);
  Parameters::read(sections.distill, "section 'distill'", s.distill);
  Parameters::read(sections.optimizer, "section 'optimizer'", s.optimizer);
  Parameters::read(sections.batch, "section 'batch'", s.batch);
  Parameters::read(sections.run, "section 'run'", s.run);
  check_combinations(s);
  return s;
}

ConfigValue resolved_document(const TrainSettings& s) {
  ConfigValue document = ConfigValue::map({{"train", ConfigValue::scalar(s.name), {}}});
  document.set("model", resolved(s.model));
  document.set("data", resolved(s.data));
  document.set_path("data.tasks", resolved(s.data.tasks));
  if (s.distill.target) document.set("distill", resolved(s.distill));
  document.set("optimizer", resolved(s.optimizer));
  document.set("batch", resolved(s.batch));
  document.set("run", resolved(s.run));
  return document;
}

std::vector<std::pair<std::string, std::vector<ParameterDoc>>> train_parameters() {
  return {{"model", Parameters::describe<TrainModelSettings>()},
          {"data", Parameters::describe<TrainDataSettings>()},
          {"data.tasks", Parameters::describe<datasets::TaskSettings>()},
          {"distill", Parameters::describe<DistillSettings>()},
          {"optimizer", Parameters::describe<OptimizerSettings>()},
          {"batch", Parameters::describe<TrainBatchSettings>()},
          {"run", Parameters::describe<TrainRunSettings>()}};
}

}  // namespace foretell::training
