// What a training run leaves behind, in the layout that `load_model()` and others read.
//
// Contract: config.json, generation_config.json, model.safetensors, the tokenizer's files, train.resolved.yaml,
// curve.csv, curve.svg and a model card. Each file appears whole or not at all.
#pragma once

#include <filesystem>

#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/checkpoint.h"

namespace foretell::training {

struct ModelFolder {
  const TrainSettings& settings;
  const autograd::TrainableTransformer& model;
  const RunState& state;
  const DataPosition& data;
  int steps_done;
};

void write_model_folder(const std::filesystem::path& folder, const ModelFolder& content);

// The model alone: config.json and model.safetensors in the config's dtype.
void write_weights(const std::filesystem::path& folder, const autograd::TrainableTransformer& model);

}  // namespace foretell::training
