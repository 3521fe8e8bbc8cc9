// What a training run leaves behind, in the layout that `load_model()` and others read.
//
// Contract: what the learner saves (of a model: config.json, generation_config.json, model.safetensors), a model's
// tokenizer, train.resolved.yaml, curve.csv, curve.svg and a model card. Each file appears whole or not at all.
#pragma once

#include <filesystem>

#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/checkpoint.h"
#include "framework/training/learner.h"

namespace foretell::training {

// What stands beside the weights.
struct ModelFolder {
  const TrainSettings& settings;
  const Learner& learner;
  const RunState& state;
  const DataPosition& data;
  int steps_done, kept_step;
  std::filesystem::path tokenizer;  // a folder or file
};

// All but what the learner itself saves.
void write_run_files(const std::filesystem::path& folder, const ModelFolder& content);

void write_generation_config(const std::filesystem::path& folder, const formats::ModelConfig& config);

// The model alone: config.json and model.safetensors in the config's dtype.
void write_weights(const std::filesystem::path& folder, const autograd::TrainableTransformer& model);

}  // namespace foretell::training
