// One cell's results on disk.
//
// Contract: the folder <results>/<study>/<cell hash>/ holds
//   config.resolved.yaml   the cell's sections as they were written, overrides included   } before the first prompt
//   manifest.json          what ran it: revision, compiler, LibTorch, CPU, threads, hashes of the weights }
//   rounds.jsonl           one object a round            } appended after each batch of prompts and on the disk before
//   the next one begins, so that a generations.jsonl      one object a generation       } killed run, or a machine
//   without power, loses at most the prompts that it was on summary.json           the fold of the two, written whole
//   or not at all; sealed (summary_check.h), so written after all others quality.jsonl          where quality is
//   measured: one object a generation of the first repeat divergence.json        of a lossless cell at temperature 0:
//   the answers that are not the baseline's, each judged (divergence_search.h) prediction.json        where the study
//   has an overlap section: what the models' overlap lets expect probs.bin               with --record probs: the
//   target's distributions along the answers (distribution_record.h) answers.jsonl          with a spec_bench workload:
//   the method's answers in FastChat's format
// The baseline's rows stand beside the method's: a cell is understood from its folder alone. Whatever cannot be written
// is an Error with the file's name. A generation's rounds are on disk before it is.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/results/record_reader.h"
#include "experiments/results/result_files.h"
#include "experiments/study/study.h"
#include "framework/datasets/prompts.h"

namespace foretell::results {

class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);  // keeps what is there
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;
  ~AppendFile();
  void append(std::string_view lines);  // with their newlines
  void sync();                          // returns when they are on the disk

 private:
  [[noreturn]] void refuse() const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

class Store {
 public:
  explicit Store(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  // What an earlier run has left: nothing where there was none.
  std::optional<ResultJson> manifest() const;
  bool finished() const;  // its summary says that the cell is complete
  std::optional<ResultJson> prediction() const;
  std::optional<ResultJson> summary() const;
  std::optional<ResultJson> divergence() const;

  // Makes the folder hold exactly `kept` of what read_records() gave, and is ready for more. What was made of the
  // records before is removed.
  void begin(const study::Cell& cell, const nlohmann::ordered_json& manifest, std::span<const GenerationRecord> kept);
  void append(std::span<const GenerationRecord> records);
  void write_answers(std::span<const datasets::AnswerRow> rows);
  void write_quality(std::span<const GenerationRecord> records);  // of those that have one
  void write_summary(nlohmann::ordered_json summary);
  void write_prediction(const nlohmann::ordered_json& prediction);
  void write_divergence(const nlohmann::ordered_json& divergence);

 private:
  void write_whole(const char* name, const nlohmann::ordered_json& content);
  std::string generation_line(const GenerationRecord& record, std::string_view round_lines) const;

  std::filesystem::path folder_;
  std::string cell_ = {};  // the hash of the one that was begun
  std::optional<AppendFile> rounds_, generations_;
};

// "results/<study>/<hash>".
std::filesystem::path cell_folder(const std::filesystem::path& results, const study::Study& study,
                                  const study::Cell& cell);

}  // namespace foretell::results
