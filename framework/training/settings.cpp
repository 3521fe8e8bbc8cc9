#include "framework/training/settings.h"

#include <algorithm>
#include <cctype>

#include "framework/chat/chat_template.h"
#include "framework/training/learner.h"

namespace foretell::training {
namespace {

struct Sections {
  std::string name, description;
  std::optional<std::string> out;
  ConfigValue model, data, learner, distill, optimizer, batch, run;
  void declare(Parameters& p) {
    p.add("train", name, "the name of what is trained", {.required = true});
    p.add("description", description, "free text");
    p.add("out", out, "the folder to make; --out wins");
    p.add("model", model, "the model that is trained; heads are those of their target");
    p.add("data", data, "on what");
    p.add("learner", learner, "what is learned, as {type: medusa, target: DIR}; none: lm");
    p.add("distill", distill, "the learner of that name");
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

// A map with its type. The section `distill` is an older form of the learner with that name.
ConfigValue read_learner(const Sections& sections) {
  const ConfigValue& old = sections.distill;
  ConfigValue learner = old.is_null() ? sections.learner : old;
  if (!old.is_null() && !sections.learner.is_null())
    fail_at(old.where(), "'distill' is the learner of that name: one of the sections 'learner' and 'distill'");
  if (!old.is_null() && !old.is_map()) fail_at(old.where(), "distill: expected a map");
  if (!old.is_null()) {
    learner.set("type", ConfigValue::scalar("distill", old.where()));
  } else if (!learner.is_map()) {
    const std::string type = learner.is_null() ? "lm" : read_text(learner, "learner");
    learner = ConfigValue::map({{"type", ConfigValue::scalar(type, learner.where()), {}}}, learner.where());
  }
  Registry<Learner>::instance().find(learner);
  return learner;
}

// With every parameter that has a value.
ConfigValue resolved_learner(const ConfigValue& learner) {
  const Registry<Learner>& registry = Registry<Learner>::instance();
  ConfigValue out = ConfigValue::map({{"type", ConfigValue::scalar(registry.type_of(learner)), {}}});
  for (const ParameterDoc& parameter : registry.find(learner).parameters()) {
    const ConfigValue* written = learner.find(parameter.name);
    for (const std::string& alias : parameter.aliases) written = written ? written : learner.find(alias);
    if (written) {
      out.set(parameter.name, *written);
    } else if (parameter.default_value != "none" && !parameter.default_value.empty()) {
      out.set(parameter.name, parse_yaml(parameter.default_value, parameter.name));
    }
  }
  return out;
}

void check_combinations(const TrainSettings& s) {
  if (s.model.config && s.model.from)
    fail_at(s.where("model"),
            "the section 'model' needs exactly one of 'config' (new weights) and 'from' (a model's folder)");
  if (s.optimizer.betas.size() != 2) fail_at(s.where("optimizer.betas"), "betas: two numbers");
  for (const double beta : s.optimizer.betas)
    if (!(beta >= 0 && beta < 1)) fail_at(s.where("optimizer.betas"), "betas: {} is outside of [0, 1)", beta);
  if (std::all_of(s.data.families.begin(), s.data.families.end(), [&](const std::string& family) {
        return s.data.weights.contains(family) && s.data.weights.at(family) <= 0;
      }))
    fail_at(s.where("data.weights"), "weights: every family has a share of 0");
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

void OptimizerSettings::declare(Parameters& p) {
  p.add("type", type, "the optimiser", {.choices = {"adamw"}});
  p.add("learning_rate", learning_rate, "at the end of the warm-up", {.min = 0.0, .aliases = {"lr"}});
  p.add("betas", betas, "decay of the two moments");
  p.add("eps", eps, "added to the root of the second moment", {.min = 0.0});
  p.add("weight_decay", weight_decay, "of matrices; not of norms, biases and embeddings", {.min = 0.0});
  p.add("warmup_steps", warmup_steps, "steps until the learning rate is reached", {.min = 0});
  p.add("min_lr_ratio", min_lr_ratio, "the share of the learning rate that the schedule ends at",
        {.min = 0.0, .max = 1.0});
  p.add("clip", clip, "the largest norm of a gradient; 0 for no limit", {.min = 0.0});
  p.add("schedule", schedule, "how the learning rate falls from the warm-up to the last step",
        {.choices = {"cosine", "linear", "constant"}});
  p.add("ema", ema, "decay of an average of the weights, which is what is evaluated and kept; 0 for none",
        {.min = 0.0, .max = 0.999999});
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
  p.add("keep", keep,
        "which weights are kept: the newest ones, or those whose held-out acceptance was best; none: newest of models, "
        "best of heads",
        {.choices = {"newest", "best_acceptance"}});
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
  s.learner = read_learner(sections);
  Parameters::read(sections.optimizer, "section 'optimizer'", s.optimizer);
  Parameters::read(sections.batch, "section 'batch'", s.batch);
  Parameters::read(sections.run, "section 'run'", s.run);
  check_combinations(s);
  return s;
}

ConfigValue resolved_document(const TrainSettings& s) {
  ConfigValue document = ConfigValue::map({{"train", ConfigValue::scalar(s.name), {}}});
  if (s.document.find("model")) document.set("model", resolved(s.model));
  document.set("data", resolved(s.data));
  document.set_path("data.tasks", resolved(s.data.tasks));
  document.set("learner", resolved_learner(s.learner));
  document.set("optimizer", resolved(s.optimizer));
  document.set("batch", resolved(s.batch));
  document.set("run", resolved(s.run));
  return document;
}

std::vector<std::pair<std::string, std::vector<ParameterDoc>>> train_parameters() {
  std::vector<std::pair<std::string, std::vector<ParameterDoc>>> all = {
      {"model", Parameters::describe<TrainModelSettings>()},
      {"data", Parameters::describe<TrainDataSettings>()},
      {"data.tasks", Parameters::describe<datasets::TaskSettings>()}};
  for (const auto& [name, entry] : Registry<Learner>::instance().entries())
    if (const auto parameters = entry.parameters(); !parameters.empty())
      all.emplace_back(fmt::format("learner (type: {})", name), parameters);
  all.emplace_back("optimizer", Parameters::describe<OptimizerSettings>());
  all.emplace_back("batch", Parameters::describe<TrainBatchSettings>());
  all.emplace_back("run", Parameters::describe<TrainRunSettings>());
  return all;
}

}  // namespace foretell::training
