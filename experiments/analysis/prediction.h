// What the overlap of draft and target predicts for a cell, to stand beside what was measured.
//
// Contract: for chains of a draft model only (drafter `model` without a tree policy). A cell has up to two predictions:
// from the text that the study's `overlap` section names, and from what the cell itself generated, read again with
// teacher forcing. The first can be had before anything is generated; the second shows how much of the difference is
// the text's and how much the assumption that positions are independent.
//
//   overlap: {file: corpus.txt, windows: 12, window_tokens: 256}
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "experiments/analysis/overlap.h"
#include "experiments/cell/cell_setup.h"
#include "experiments/results/record.h"

namespace foretell::analysis {

struct OverlapSection {
  std::string file;
  int windows = 12, window_tokens = 256;
  void declare(Parameters& p);
};

// What the overlap of draft and target lets expect.
struct Prediction {
  int depth = 0;         // tokens of a draft
  double on_text = 0;    // [1] expected acceptance of a token on the study's text
  double on_output = 0;  // [1] the same on what the cell generated
};

class Predictor {
 public:
  // `section` is null for a study without predictions. Reads nothing but the section.
  Predictor(const ConfigValue& section, const std::filesystem::path& study_folder, cell::ModelPool& pool);

  // Nothing for cells that it says nothing about.
  std::optional<Prediction> predict(const study::Cell& cell, const cell::CellSetup& setup,
                                    std::span<const results::GenerationRecord> records);

 private:
  std::optional<OverlapSection> section_;
  std::filesystem::path text_;
  cell::ModelPool& pool_;
  std::map<std::string, double> on_text_;  // by models and sampling
};

}  // namespace foretell::analysis
