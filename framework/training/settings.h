// What a training file says.
//
// Contract: plain values, read from YAML through Parameters, so a key that nobody knows is an Error with file and line.
// Paths are as written: the command resolves them. read_train_settings() has checked everything that can be checked
// without opening another file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/core/parameters.h"
#include "framework/datasets/tasks.h"

namespace foretell::training {

struct TrainModelSettings {
  std::optional<std::string> config, from, tokenizer;
  std::int64_t init_seed = 1;
  std::string init = "normal";
  void declare(Parameters& p);
};

struct TrainDataSettings {
  std::string type = "generated";
  std::vector<std::string> families;      // all if empty
  std::map<std::string, double> weights;  // shares; 1 where a family is not named
  datasets::TaskSettings tasks;
  std::vector<std::string> files;
  double heldout = 0.02;
  std::int64_t seed = 1;
  std::string chat_template = "chatml";
  double prompt_weight = 0.0;
  std::int64_t curriculum = 0;
  void declare(Parameters& p);

  ConfigValue weights_section, tasks_section;  // as written: `weights` and `tasks` are read from them
};

struct OptimizerSettings {
  std::string type = "adamw";
  double learning_rate = 2e-3;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.05;
  int warmup_steps = 100;
  double min_lr_ratio = 0.05;
  double clip = 1.0;
  std::string schedule = "cosine";
  double ema = 0;  // decay of the average of the weights; 0: there is none
  void declare(Parameters& p);
};

struct TrainBatchSettings {
  int rows = 32;
  int length = 256;
  int accumulate = 1;
  std::int64_t tokens() const { return std::int64_t{rows} * length; }
  void declare(Parameters& p);
};

struct TrainRunSettings {
  int steps = 1000;
  std::string dtype = "f32";
  std::string save_dtype = "bf16";
  std::string device = "cpu";
  std::optional<int> threads;
  bool oversubscribe = false;
  int checkpoint_every = 200;
  int eval_every = 200;
  int eval_prompts = 20;
  int log_every = 20;
  std::optional<std::string> keep;
  void declare(Parameters& p);
};

struct TrainSettings {
  std::string name;
  std::optional<std::string> out;
  TrainModelSettings model;
  TrainDataSettings data;
  ConfigValue learner;  // a map with its type: what the Registry<Learner> makes one from
  OptimizerSettings optimizer;
  TrainBatchSettings batch;
  TrainRunSettings run;
  ConfigValue document;  // as it was written, overrides applied

  // Where a dotted key was written, for messages; the document itself if it was not.
  Location where(std::string_view path) const;
};

TrainSettings read_train_settings(const ConfigValue& document);

// Every setting with the value that is used, defaults included; reads back as the same settings.
ConfigValue resolved_document(const TrainSettings& settings);

// What a section knows: ("optimizer", its parameters) and so on, for `foretell train --help`.
std::vector<std::pair<std::string, std::vector<ParameterDoc>>> train_parameters();

}  // namespace foretell::training
