// A study: one YAML file that says what is run, on what, and against which baseline.
//
// Contract: load_study() reads the file, applies `--set` overrides, expands the sweep and reads every cell, so that a
// mistake anywhere (an unknown key, a wrong type, a value out of range) is an Error with file:line before anything has
// been run. The parts of pipelines are read when they are built (experiments/study/pipeline.h), with the same kind of
// message.
//
//   study: draft-length                       # names the folder of the results
//   description: optional free text
//   model:    {target: models/tiny, draft: models/tiny-draft, dtype: bf16, device: cpu}
//   pipeline: {drafter: {type: model}, verifier: {type: rejection}, policy: {type: fixed}, tree: {type: ...}}
//                                             # target: {router: ...}: under which rules the target is scored
//   sampling: {temperature: 0.0}
//   workload: {type: spec_bench, file: question.jsonl, limit: 40}
//   run:      {seed: 1, repeats: 5, warmup: 1, threads: 2, batch_size: 1, interleave: true}
//   include:  base.yaml                       # optional: a study that this one changes (experiments/study/include.h)
//   overlap:  {file: corpus.txt}              # optional: measured acceptance beside the one that overlap predicts
//   plugins:  [libmine.so]                    # optional: strategies out of shared libraries
//   baseline: {pipeline.drafter: {type: none}}    # the default; `none` for no baseline
//   sweep:    {drafter.num_speculative_tokens: [1, 2, 4], sampling.temperature: [0.0, 1.0]}
//                                             # or zip, lists, ...: experiments/study/sweep.h
//
// Instead of a mapping, `model`, `pipeline`, `sampling`, `workload` and `run` may name a YAML file that holds it. A
// path is looked for in the current folder first, then beside the study; "${NAME}" in it is the environment variable
// NAME. In dotted paths target, drafter, verifier, policy and tree stand for pipeline.drafter and so on. An override
// wins over the sweep; a swept path that is overridden is no longer swept. Overrides may name swept paths too: `--set
// 'sweep.drafter.num_speculative_tokens=[1, 3]'`, or with sweep.zip. and so on in front.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/config_value.h"
#include "framework/core/parameters.h"
#include "framework/sampling/sampling.h"

namespace foretell::study {

struct ModelSection {
  ConfigValue target, draft;
  std::optional<std::string> dtype = {}, kv_dtype = {};
  std::string device = "cpu";
  void declare(Parameters& p);
};

struct PipelineSection {
  ConfigValue target;                           // rules of scoring; null: the checkpoint's
  ConfigValue drafter, verifier, policy, tree;  // tree: null unless there is one
  PipelineSection();
  void declare(Parameters& p);
};

struct RunSection {
  std::int64_t seed = 1;
  int repeats = 1;
  int warmup = 1;
  std::optional<int> threads = {};
  bool oversubscribe = false;
  int batch_size = 1;
  std::optional<double> noise_gate = {};  // none: nothing is repeated
  int noise_gate_repeats = 3;
  double noise_gate_pause = 10;  // [s]
  bool interleave = true;
  bool pin_threads = true;
  std::optional<double> request_rate = {};  // [1/s] none: closed loop
  std::optional<double> slo_ttft_ms = {}, slo_tpot_ms = {}, slo_latency_ms = {};
  std::optional<double> power_watts = {};
  std::string quality = "auto";
  void declare(Parameters& p);
};

struct Cell {
  std::string name;
  ConfigValue settings;  // what the sweep chose: dotted path -> value
  ConfigValue document;  // the sections below as they were written
  std::string hash;      // of the document: names the cell's folder
  std::string group;     // cells with the same one share models, prompts, sampling, threads and baseline: they are run
                         // beside one another
  ModelSection model;
  PipelineSection pipeline;
  SamplingOptions sampling;
  ConfigValue workload;
  RunSection run;
  std::optional<PipelineSection> baseline;  // none if the study has none, or if this cell is the baseline
  bool is_baseline = false;
  bool measures_quality = false;  // as `run.quality` says; auto: if any cell of the study has a lossy verifier
};

struct Study {
  std::string name;
  std::string description = {};
  std::filesystem::path file;
  std::string folder = {};   // of its results; its name, or that of a shard
  ConfigValue overlap = {};  // what prediction.h reads; null for none
  std::vector<Cell> cells = {};
};

Study load_study(const std::filesystem::path& file, const std::vector<std::string>& overrides);

// "drafter.type" -> "pipeline.drafter.type".
std::string full_path(const std::string& dotted);

}  // namespace foretell::study
